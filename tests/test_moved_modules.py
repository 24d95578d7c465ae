"""Old module paths go on answering, with a warning that names the new home."""

from __future__ import annotations

import importlib
import sys

import pytest

PACKAGES = ("vision_edge.runtime", "vision_edge.export", "vision_edge.toolkit")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_old_module_answers_with_a_name_of_its_new_home(package: str) -> None:
    if package != "vision_edge.runtime":
        pytest.importorskip("torch")
    homes = importlib.import_module(f"{package}._moved").HOMES
    assert homes
    for old, new in homes.items():
        sys.modules.pop(f"{package}.{old}", None)
        with pytest.warns(DeprecationWarning, match=new[0]):
            answering = importlib.import_module(f"{package}.{old}")
        for home in new:
            module = importlib.import_module(home)
            name = next(name for name in vars(module) if not name.startswith("__"))
            assert getattr(answering, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            answering.nothing  # noqa: B018


def test_a_room_answers_for_the_module_of_its_name() -> None:
    from vision_edge.runtime.gallery import Gallery
    from vision_edge.runtime.gallery.gallery import Gallery as Real
    from vision_edge.runtime.sources import open_source

    assert Gallery is Real
    assert callable(open_source)
