"""Assets are used only if their bytes are those that were shipped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vision_edge.cli.assets import app
from vision_edge.runtime.bundles import shipped as assets
from vision_edge.runtime.errors import VisionEdgeError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one asset of two files."""
    folder = tmp_path / "assets"
    (folder / "thing").mkdir(parents=True)
    contents = {"thing/a.bin": b"one", "thing/b.bin": b"two"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    entry = {
        "name": "thing",
        "what": "two files",
        "license": "Apache-2.0",
        "bytes": 6,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    (folder / assets.INDEX).write_text(json.dumps([entry]))
    monkeypatch.setattr(assets.resources, "files", lambda _: tmp_path)
    monkeypatch.setattr(assets, "_packages", lambda: ["vision_edge.runtime"])
    return folder


def test_an_intact_asset_is_found(package: Path) -> None:
    assert assets.asset("thing") == package / "thing"


@pytest.mark.parametrize(
    ("change", "state"),
    [(lambda p: p.write_bytes(b"twO"), "altered"), (lambda p: p.unlink(), "missing")],
)
def test_a_changed_asset_is_refused(package: Path, change: object, state: str) -> None:
    assert callable(change)
    change(package / "thing" / "b.bin")
    with pytest.raises(VisionEdgeError, match=rf"asset thing: .*b\.bin is {state}"):
        assets.asset("thing")
    result = CliRunner().invoke(app, [])
    assert "ALTERED" in result.output
    assert isinstance(result.exception, VisionEdgeError)


def test_an_unknown_asset_names_those_there_are(package: Path) -> None:
    with pytest.raises(VisionEdgeError, match="installed are: thing"):
        assets.asset("other")


def test_every_shipped_asset_is_intact() -> None:
    for found in assets.list_assets():
        assert found.verify().exists()
        assert found.bytes > 0
        assert found.license
