"""Each package's public face: few names, from their real homes, and enough for every example."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest
from support.paths import ROOT

PACKAGES = (
    "vision_edge.runtime",
    "vision_edge.station",
    "vision_edge.export",
    "vision_edge.toolkit",
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMPORTS = re.compile(
    r"^\s*from (vision_edge[\w.]*) import \(?([^)#\n]*(?:\n[^)]*\))?)", re.MULTILINE
)


def face(package: str) -> object:
    if package in ("vision_edge.export", "vision_edge.toolkit"):
        pytest.importorskip("torch")
    return importlib.import_module(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_listed_names_are_all_and_resolve_to_their_homes(package: str) -> None:
    module = face(package)
    homes = module._HOMES
    assert sorted(module.__all__) == sorted(name for names in homes.values() for name in names)
    assert dir(module) == sorted(module.__all__)
    for home, names in homes.items():
        for name in names:
            value = getattr(module, name)
            assert value is getattr(importlib.import_module(f"{package}.{home}"), name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__module__ == f"{package}.{home}", "defined there, not passed on"
                assert inspect.getdoc(value), f"{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_for_type_checkers_are_those_of_the_face(package: str) -> None:
    module = face(package)
    source = inspect.getsource(module)
    typed = {
        f"{home}.{name}"
        for home, names in re.findall(rf"from {package}\.([\w.]+) import \(([^)]*)\)", source)
        for name in re.findall(r"\w+", names)
    }
    assert typed == {f"{home}.{name}" for home, names in module._HOMES.items() for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_bundel'"):
        face(package).load_bundel  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_imports_nothing_until_it_is_used(package: str) -> None:
    face(package)
    code = (
        f"import sys, {package}; print([n for n in ('torch', 'cv2', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_import_in_readme_and_docs_is_public() -> None:
    private = [
        f"{page.relative_to(ROOT)}: from {module} import {names.strip()}"
        for page in PAGES
        if "adr" not in page.parts
        for module, names in IMPORTS.findall(page.read_text(encoding="utf-8"))
        if module not in PACKAGES
    ]
    assert not private
