"""However a command ends: files finished, no leftovers, and the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from support import rtsp
from support.runtime import MAIN
from support.station import eventually


def started(*arguments: str | Path, prelude: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", f"{prelude}\n{MAIN}", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


@pytest.fixture
def belt(tmp_path: Path, shots: Path) -> Path:
    """A video of 3,000 frames: more than is judged in the time of a test."""
    path = tmp_path / "belt.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (96, 96))
    images = [cv2.imread(str(shot)) for shot in sorted(shots.iterdir())]
    for number in range(3000):
        writer.write(images[number % len(images)])
    writer.release()
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_finishes_its_recording(
    bundle_path: Path, registered: Path, belt: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = started(
        "run", bundle_path, belt, "--gallery", registered, "--realtime", "--provider", "cpu",
        "--save", out / "seen.avi", "--jsonl", out / "seen.jsonl",
    )  # fmt: skip
    try:
        eventually(lambda: list(out.glob("seen.part-*.avi")), 30)
        time.sleep(0.5)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, "stopped" in said) == (0, True), said
    assert sorted(path.name for path in out.iterdir()) == ["seen.avi", "seen.jsonl"]
    video = cv2.VideoCapture(str(out / "seen.avi"))
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    assert 0 < frames <= len((out / "seen.jsonl").read_text().splitlines())


def test_what_a_killed_run_leaves_is_called_partial_and_is_named_by_the_next(
    bundle_path: Path, registered: Path, belt: Path, shots: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("run", bundle_path, belt, "--gallery", registered, "--provider", "cpu")
    process = started(*arguments, "--realtime", "--save", out / "seen.avi")
    try:
        (part,) = eventually(lambda: list(out.glob("seen.part-*.avi")), 30)
        eventually(lambda: part.stat().st_size > 0, 10)
    finally:
        process.kill()
        process.communicate()
    assert [path.name for path in out.iterdir()] == [part.name]  # nothing hidden
    process = started(*arguments, "--max-frames", "5", "--save", out / "seen.avi")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert part.name in said
    assert sorted(path.name for path in out.iterdir()) == ["seen.avi", part.name]


def test_a_command_that_is_terminated_says_so(tmp_path: Path) -> None:
    held = "import time, vision_edge.cli.app as a; a.app = lambda: time.sleep(60)"
    process = started(prelude=held)
    time.sleep(2.0)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (143, "terminated\n")


@pytest.mark.slow
@pytest.mark.skipif(rtsp.missing() is not None, reason=rtsp.missing() or "")
def test_a_start_that_fails_with_a_camera_open_ends_with_its_message(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    server = rtsp.Server()
    config = tmp_path / "station.toml"
    try:
        config.write_text(
            f'bundle = "{bundle_path}"\ngallery = "{registered}"\n[server]\nport = 0\n[modbus]\n'
            f'[[sources]]\nname = "a"\naddress = "{server.address()}"\n'
        )
        missing = (
            "import sys, time; sys.modules['pymodbus'] = None\n"
            "import vision_edge.station.server as s; made = s.wires_of\n"
            "s.wires_of = lambda station: (time.sleep(3), made(station))[1]"
        )
        process = started("serve", "--config", config, prelude=missing)
        _, said = process.communicate(timeout=40)
    finally:
        server.kill()
    assert process.returncode == 1, said
    assert "terminate called" not in said and "pymodbus" in said
