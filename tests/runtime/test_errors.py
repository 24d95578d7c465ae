"""Errors carry what, where and a fix; a missing package names the extra that brings it."""

from __future__ import annotations

import inspect
import sys

import pytest

from vision_edge.runtime import errors
from vision_edge.runtime.errors import INSTALL_HINTS, MissingExtraError, VisionEdgeError, require


def test_a_message_holds_the_failure_and_the_fix_on_a_line_of_its_own() -> None:
    error = VisionEdgeError("disk is full", fix="free some room")
    assert str(error) == "disk is full\n  fix: free some room"
    assert (error.what, error.fix) == ("disk is full", "free some room")
    assert str(VisionEdgeError("disk is full")) == "disk is full"


def test_every_error_has_the_one_base_class() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    kinds = [kind for kind in kinds if issubclass(kind, BaseException)]
    assert len(kinds) >= 9
    assert all(issubclass(kind, VisionEdgeError) for kind in kinds)


def test_require_returns_the_module() -> None:
    assert require("json.decoder") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [*INSTALL_HINTS.items(), ("cv2.absent", "edge"), ("unheard_of", "server")],
)
def test_a_missing_module_names_its_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        require(module)
    assert repr(module) in caught.value.what
    assert caught.value.fix == f'pip install "vision-edge[{extra}]"'
