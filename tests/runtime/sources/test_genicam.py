"""GenICam cameras, against a real GigE Vision camera on the loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from support.genicam import fake_camera

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.genicam_address import GenicamSettings, parse_genicam
from vision_edge.runtime.sources.genicam_grabber import chosen
from vision_edge.runtime.sources.genicam_pixels import FORMS, bgr_of
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings, LiveSource, LiveState

TRIGGERS = int(os.environ.get("VISION_EDGE_TRIGGERS", "60"))
PATIENT = LiveSettings(stale_after=30.0, lost_after=30.0, give_up_after=30.0)


@pytest.fixture
def camera() -> Iterator[subprocess.Popen[bytes]]:
    with fake_camera() as process:
        yield process


def _opened(query: str, settings: LiveSettings = PATIENT) -> LiveSource:
    return LiveSource(f"genicam://GV01?region=0,0,160,120&{query}", "camera", settings)


def _wait_for(count: Callable[[], int], least: int, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while count() < least:
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)


def _taken(source: LiveSource, numbers: list[int]) -> int:
    """Take what there is, without waiting; return how many frames were taken in all."""
    while (frame := source.newer_than(numbers[-1] if numbers else -1)) is not None:
        numbers.append(frame.number)
    return len(numbers)


# --- with the camera -------------------------------------------------------------------------


def test_a_free_running_camera_gives_its_latest_frame(camera: subprocess.Popen[bytes]) -> None:
    source = _opened("fps=50&pixel_format=BayerRG8&exposure_us=9000&gain=1")
    try:
        frames = [frame for _, frame in zip(range(10), source, strict=False)]
    finally:
        source.close()
    assert all(frame.image.shape == (120, 160, 3) for frame in frames)
    assert [f.number for f in frames] == sorted({f.number for f in frames})
    assert source.fps == pytest.approx(50, rel=0.1)


def test_each_trigger_has_its_frame_with_its_number(camera: subprocess.Popen[bytes]) -> None:
    source = _opened("fps=100&trigger=Software")
    numbers: list[int] = []
    try:
        for sent in range(1, TRIGGERS + 1):
            assert source.fire() == sent - 1
            _wait_for(lambda: _taken(source, numbers) + source.lost, sent)
    finally:
        source.close()
    assert len(numbers) + source.lost == TRIGGERS, "none missed"
    assert numbers == sorted(set(numbers)), "none twice"
    assert numbers[-1] < TRIGGERS
    assert len(numbers) >= 0.9 * TRIGGERS, "a busy machine may lose packets, and says so"


def test_triggered_frames_wait_until_they_are_taken(camera: subprocess.Popen[bytes]) -> None:
    source = _opened("fps=100&trigger=Software")
    try:
        for sent in range(1, 6):
            source.fire()
            _wait_for(lambda: len(source._slots) + source.lost, sent)
        kept = 5 - source.lost
        numbers = [frame.number for _, frame in zip(range(kept), source, strict=False)]
    finally:
        source.close()
    assert len(numbers) == kept >= 3
    assert numbers == sorted(set(numbers))


def test_a_camera_that_waits_for_a_signal_is_not_lost(camera: subprocess.Popen[bytes]) -> None:
    quick = LiveSettings(stale_after=0.4, lost_after=0.8)
    source = _opened("trigger=Line0", quick)
    try:
        time.sleep(1.5)
        assert source.state is LiveState.LIVE
    finally:
        source.close()


def test_a_camera_that_vanishes_is_lost_and_found_again(camera: subprocess.Popen[bytes]) -> None:
    options = GrabberOptions(read_timeout=1.0)
    source = _opened("fps=25", LiveSettings(stale_after=2.0, lost_after=3.0, grabber=options))
    try:
        before = next(iter(source)).number
        camera.kill()
        camera.wait()
        until = time.monotonic() + 20
        while source.state is not LiveState.LOST and time.monotonic() < until:
            time.sleep(0.05)
        assert source.state is LiveState.LOST
        subprocess_again = subprocess.Popen(camera.args)
        try:
            after = next(frame.number for frame in source if frame.number > before)
            assert after > before
        finally:
            subprocess_again.kill()
            subprocess_again.wait()
    finally:
        source.close()


def test_a_trigger_whose_camera_vanishes_is_lost_and_its_number_given_to_no_other(
    camera: subprocess.Popen[bytes],
) -> None:
    options = GrabberOptions(read_timeout=1.0)
    source = _opened("trigger=Software", LiveSettings(stale_after=60.0, grabber=options))
    again = None
    try:
        _wait_for(lambda: source.state is LiveState.LIVE, 1)
        os.kill(camera.pid, signal.SIGSTOP)  # it is exposing
        fired = threading.Thread(target=_try_to_fire, args=(source,))
        fired.start()
        camera.kill()
        camera.wait()
        fired.join(30)
        _wait_for(lambda: source.state is LiveState.LOST, 1)
        with pytest.raises(SourceError, match="not connected"):
            source.fire()
        lost, again = source.lost, subprocess.Popen(camera.args)
        _wait_for(lambda: source.state is LiveState.LIVE, 1, 40.0)
        number = source.fire()
        numbers: list[int] = []
        _wait_for(lambda: _taken(source, numbers) + source.lost - lost, 1)
        assert numbers == [number] or source.lost > lost
    finally:
        source.close()
        if again is not None:
            again.kill()
            again.wait()


def _try_to_fire(source: LiveSource) -> None:
    with suppress(SourceError):  # it may not even hear it
        source.fire()


@pytest.mark.parametrize("query", ["trigger=Line0", "trigger=off", "fps=25"])
def test_a_camera_that_waits_for_no_command_refuses_one(
    camera: subprocess.Popen[bytes], query: str
) -> None:
    source = _opened(query)
    try:
        with pytest.raises(SourceError, match="waits for no software trigger"):
            source.fire()
    finally:
        source.close()


@pytest.mark.parametrize(("ratio", "whole"), [(40, 3), (400, 0)])
def test_frames_lost_on_the_wire_are_counted_and_never_replaced(ratio: int, whole: int) -> None:
    with fake_camera(lost_per_thousand=ratio):
        source = _opened("fps=100&trigger=Software&pixel_format=RGB8")
        try:
            numbers: list[int] = []
            sent = 0
            while sent < 20 or source.lost == 0 or len(numbers) < whole:
                source.fire()
                sent += 1
                _wait_for(lambda: _taken(source, numbers) + source.lost, sent)
                assert len(numbers) + source.lost == sent
                assert sent < 400, f"{source.lost} lost, {len(numbers)} whole"
            assert numbers == sorted(set(numbers))
        finally:
            source.close()


@pytest.mark.parametrize(
    ("query", "word"),
    [("pixel_format=Mono3", "pixel_format"), ("trigger=Line77", "trigger")],
)
def test_what_a_camera_refuses_is_named(
    camera: subprocess.Popen[bytes], query: str, word: str
) -> None:
    with pytest.raises(SourceError, match=word):
        _opened(query)


def test_a_camera_that_does_not_answer_is_named_beside_those_that_do(
    camera: subprocess.Popen[bytes],
) -> None:
    with pytest.raises(SourceError, match=r"no GenICam camera 'other' answers.*GV01"):
        LiveSource("genicam://other", "camera")


# --- without one -----------------------------------------------------------------------------


def test_an_address_says_how_a_camera_is_set() -> None:
    found = parse_genicam(
        "genicam://Maker-X%201?pixel_format=Mono12&exposure_us=1e4&gain=0&region=8,0,64,48&trigger=Line0"
    )
    assert found == GenicamSettings("Maker-X 1", "Mono12", 1e4, 0.0, (8, 0, 64, 48), None, "Line0")
    assert found.triggered
    assert parse_genicam("genicam://") == GenicamSettings()
    assert not parse_genicam("genicam://a?trigger=off").triggered


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("exposure=5", "exposure=5"),
        ("exposure_us=soon", "exposure_us=soon"),
        ("exposure_us=0", "exposure_us is 0"),
        ("gain=-1", "gain is -1"),
        ("fps=nan", "fps is nan"),
        ("region=1,2,3", "region=1,2,3"),
        ("region=0,0,0,5", "region is"),
        ("fps=1&fps=2", "fps is said twice"),
        ("trigger=", "trigger="),
    ],
)
def test_what_no_camera_can_be_told_is_refused(query: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        parse_genicam(f"genicam://x?{query}")


def test_of_two_cameras_one_must_be_named() -> None:
    two = [aravis.Device(f"M-{n}", f"10.0.0.{n}", "M", "S") for n in (1, 2)]
    assert chosen(two, "10.0.0.2") is two[1]
    for name in ("", "S", "M"):
        with pytest.raises(SourceError, match=r"2 GenICam cameras.*M-1.*M-2"):
            chosen(two, name)


def _packed(values: np.ndarray, name: str) -> bytes:
    """Pack values as the formats' standards say, bit by bit."""
    bits: list[int] = []
    if name.endswith("p"):
        width = 10 if "10" in name else 12
        for value in values:
            bits += [int(value) >> bit & 1 for bit in range(width)]
        return bytes(
            sum(bit << place for place, bit in enumerate(bits[at : at + 8]))
            for at in range(0, len(bits), 8)
        )
    low, shift = (4, 4) if "12" in name else (2, 4)
    out = bytearray()
    for a, b in values.reshape(-1, 2).tolist():
        out += bytes([a >> low, a & ((1 << low) - 1) | (b & ((1 << low) - 1)) << shift, b >> low])
    return bytes(out)


@pytest.mark.parametrize("code", FORMS, ids=lambda code: FORMS[code].name)
def test_pixels_of_every_format_are_what_they_were(code: int) -> None:
    form, height, width = FORMS[code], 12, 16
    rng = np.random.default_rng(code)
    if form.channels == 3:
        sent = rng.integers(0, 256, (height, width, 3), np.uint8)
        expected = sent if form.name == "BGR8" else sent[..., ::-1]
        assert np.array_equal(bgr_of(sent.reshape(-1), width, height, code), expected)
        return
    level = 90  # of 255; a flat field survives demosaicing and YUV
    if form.channels == 2:
        grey = [128, level] if "UYVY" in form.name else [level, 128]
        flat = np.tile(np.array(grey, np.uint8), height * width)
        found = bgr_of(flat, width, height, code)
        assert np.ptp(found) == 0
        assert found[0, 0, 0] == pytest.approx((level - 16) * 255 / 219, abs=1.5)
        return
    values = np.full(height * width, level << (form.bits - 8), np.uint16)
    if form.colour is None:
        values = rng.integers(0, 1 << form.bits, height * width).astype(np.uint16)
    if form.per_pixel == 8:
        data = values.astype(np.uint8).tobytes()
    elif form.per_pixel == 16:
        data = values.astype("<u2").tobytes()
    else:
        data = _packed(values, form.name)
    found = bgr_of(np.frombuffer(data, np.uint8), width, height, code)
    expected = (values >> (form.bits - 8)).astype(np.uint8).reshape(height, width)
    assert all(np.array_equal(found[..., channel], expected) for channel in range(3))


def test_a_bayer_pattern_has_its_colours_where_genicam_says() -> None:
    """RG: red in the first place of the first row, blue in the second of the second."""
    red = np.zeros((8, 8), np.uint8)
    red[0::2, 0::2] = 200
    (code,) = [code for code, form in FORMS.items() if form.name == "BayerRG8"]
    blue_green_red = bgr_of(red.reshape(-1), 8, 8, code)[2:6, 2:6].reshape(-1, 3).mean(0)
    assert blue_green_red[2] == 200
    assert blue_green_red[0] == blue_green_red[1] == 0


def test_an_unknown_format_and_a_short_buffer_are_refused() -> None:
    with pytest.raises(SourceError, match="0x01020304"):
        bgr_of(np.zeros(4, np.uint8), 2, 2, 0x01020304)
    with pytest.raises(SourceError, match="sent 3 bytes"):
        bgr_of(np.zeros(3, np.uint8), 2, 2, 0x01080001)
