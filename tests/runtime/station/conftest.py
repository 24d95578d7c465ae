"""Fixtures of the station's tests: one served station for all that change little."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("fastapi") is None or find_spec("pydantic_settings") is None:
    collect_ignore_glob = ["test_*.py"]  # without the extra `station`
else:
    from support.station import Served, served, settings_for, strangers


@pytest.fixture
def live(bundle_path: Path, registered: Path, shots: Path, tmp_path: Path) -> Iterator[Served]:
    """A served station of two sources: `good` shows the three products, `odd` strangers."""
    good = {"name": "good", "address": shots, "loop": True, "fps": 30}
    odd = {"name": "odd", "address": strangers(tmp_path / "odd"), "loop": True, "fps": 30}
    review = {"per_minute": 600}
    with served(settings_for(bundle_path, registered, good, odd, review=review)) as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    bundle_path: Path, _registered: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A served station that the tests of one module share."""
    folder = tmp_path_factory.mktemp("shared")
    gallery = Path(shutil.copy(_registered, folder / "parts.gallery"))
    good = {"name": "good", "address": shots, "loop": True, "fps": 10}
    command = {**good, "name": "command", "trigger": "command"}
    settings = settings_for(bundle_path, gallery, good, command, server={"max_upload_mb": 0.5})
    with served(settings) as running:
        yield running
