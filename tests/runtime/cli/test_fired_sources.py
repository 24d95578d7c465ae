"""Commands that never fire a camera refuse one that waits for that, instead of waiting with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import refused_command

CAMERA = "genicam://GV01?trigger=Software"


@pytest.mark.parametrize("command", ["run", "run also", "register", "camera"])
def test_a_camera_that_waits_for_commands_is_refused(
    command: str, bundle_path: Path, registered: Path
) -> None:
    gallery = ("--gallery", registered)
    line: dict[str, tuple[object, ...]] = {
        "run": ("run", bundle_path, CAMERA, *gallery),
        "run also": ("run", bundle_path, "0", "--also", CAMERA, *gallery),
        "register": ("register", bundle_path, "bolt", "--source", CAMERA, *gallery),
        "camera": ("camera", CAMERA),
    }
    error = refused_command(*line[command])
    assert "on command" in error.what
    assert 'trigger = "command"' in str(error.fix)


def test_an_address_that_no_camera_understands_is_refused_before_anything_is_loaded(
    bundle_path: Path, registered: Path
) -> None:
    error = refused_command("run", bundle_path, "genicam://x?gain=loud", "--gallery", registered)
    assert "gain=loud" in error.what
