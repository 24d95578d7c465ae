"""What the pages on a station show can be done: settings load, keys and addresses are there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.station import served, settings_for

pytest.importorskip("fastapi")

from pydantic import BaseModel

from vision_edge.station.settings.station import StationSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for folder in ("docs", "examples")
    for path in (ROOT / folder).rglob("*.md")
}
BLOCKS = [
    (page, text)
    for page, content in PAGES.items()
    for text in re.findall(r"^```toml\n(.+?)^```", content, re.M | re.DOTALL)
]
BASE = {"bundle": "bundle", "gallery": "products.db", "sources": [{"name": "a", "address": "0"}]}
SETTING = re.compile(r"`([a-z][a-z_]+) = (?:true|false|\d|\"|\[)[^`]*`")


def keys_of(model: type[BaseModel]) -> set[str]:
    """Return the names of all keys below a model."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(name)
        for part in parts_of(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys_of(part)
    return found


def parts_of(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(part for one in inner for part in parts_of(one))]


@pytest.mark.parametrize(("page", "text"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_every_block_of_settings_loads(page: str, text: str) -> None:
    settings = StationSettings(from_file={**BASE, **tomllib.loads(text)})
    assert settings.sources


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_is_one(page: str) -> None:
    named = set(SETTING.findall(PAGES[page]))
    assert named <= keys_of(StationSettings), named - keys_of(StationSettings)


@pytest.fixture(scope="module")
def routes(
    bundle_path: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> set[tuple[str, str]]:
    """Return method and path of all that a station answers, names and numbers as X."""
    folder = tmp_path_factory.mktemp("routes")
    with served(settings_for(bundle_path, folder / "products.db", shots)) as running:
        paths = running.ok(running.get("/openapi.json"))["paths"]
    return {
        (method.upper(), re.sub(r"\{\w+\}", "X", path.removeprefix("/api/v1/")))
        for path, methods in paths.items()
        for method in methods
    }


def asked_for() -> list[tuple[str, str, str]]:
    """Return page, method and path of each call that pages show, names and numbers as X."""
    found = []
    for page, text in PAGES.items():
        for line in re.findall(r"curl [^\n`]+", text):
            method = "POST" if "-X POST" in line else "GET"
            found += [(page, method, path) for path in re.findall(r"/api/v1/([\w/.-]+)", line)]
        for method, path in re.findall(r"`(GET|POST) (/?[\w/.-]+)(?:\?[^`]*)?`", text):
            found.append((page, method, path.removeprefix("/api/v1/")))
    return found


@pytest.mark.parametrize(("page", "method", "path"), asked_for())
def test_every_call_that_a_page_shows_is_answered(
    page: str, method: str, path: str, routes: set[tuple[str, str]]
) -> None:
    known = {route for there, route in routes if there == method}
    words = re.sub(r"\b[A-Z]+\b", "X", path)
    words = re.sub(r"^(sources|kept|captures|snapshots)/(?!assign|reject)[\w-]+", r"\1/X", words)
    assert words in known or f"/{words}".replace("//", "/") in known, (words, sorted(known))


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_a_page_names_is_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", PAGES[page])) <= targets
