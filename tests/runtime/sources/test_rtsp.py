"""A real RTSP server that is killed, stalled, restarted and slowed while verdicts are given.

`VISION_EDGE_FAULT_CYCLES=50` (or `make faults`) runs the long form; else each fault comes once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support import rtsp
from support.runtime import FakeEmbedder, cohort_of, weights

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sources.frame import Source
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings, LiveSource
from vision_edge.runtime.sources.opening import open_source, open_sources

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(rtsp.missing() is not None, reason=rtsp.missing() or ""),
]
CYCLES = int(os.environ.get("VISION_EDGE_FAULT_CYCLES", "6"))
MAX_AGE_MS = 600.0
COMES_BACK_WITHIN = 25.0
LAG_MS = 100.0
"""What a picture takes from drawing to arrival here, at most, when nothing is wrong."""


def settings(backend: Any = "auto") -> LiveSettings:
    return LiveSettings(
        stale_after=0.5,
        lost_after=1.5,
        grabber=GrabberOptions(backend=backend, open_timeout=3.0, read_timeout=1.5),
    )


@pytest.fixture
def server() -> Iterator[rtsp.Server]:
    made = rtsp.Server()
    yield made
    made.kill()


class Watcher:
    """Takes verdicts in a thread, and notes the true age of each frame and what is wrong."""

    def __init__(self, source: Source) -> None:
        prototypes = np.eye(3, weights().shape[1], dtype=np.float32)
        nothing = Cohort(cohort_of(weights()), from_station=False)
        self._classifier = PrototypeClassifier(
            ["a", "b", "c"], prototypes, nothing.embeddings.mean(axis=0), nothing
        )
        self._source = source
        self.ages: list[float] = []
        self.numbers: list[int] = []
        self.problems: list[str] = []
        self.at = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def wait_for_verdict(self, since: float, seconds: float = COMES_BACK_WITHIN) -> None:
        limit = time.monotonic() + seconds
        while self.at <= since:
            assert time.monotonic() < limit, f"no verdict for {seconds} s; {self.problems}"
            time.sleep(0.02)

    def close(self) -> None:
        self._source.close()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        try:
            for frame, verdict in verdicts(
                self._source, FakeEmbedder(), self._classifier, max_age_ms=MAX_AGE_MS
            ):
                self._check(frame, verdict)
                self.at = time.monotonic()
        except BaseException as error:
            self.problems.append(repr(error))

    def _check(self, frame: Any, verdict: Any) -> None:
        age = rtsp.age_ms(frame.image)
        if age > MAX_AGE_MS + LAG_MS:
            self.problems.append(f"a verdict on a frame of {age:.0f} ms, said {verdict.age_ms:.0f}")
        if not rtsp.colours_are_bgr(frame.image):
            self.problems.append(f"frame {frame.number} is not BGR")
        self.ages.append(age)
        self.numbers.append(frame.number)


def killed(server: rtsp.Server, network: rtsp.Network) -> None:
    server.kill()
    time.sleep(1.0)
    server.start()


def restarted(server: rtsp.Server, network: rtsp.Network) -> None:
    server.kill()
    server.start()


def frozen(server: rtsp.Server, network: rtsp.Network) -> None:
    server.signal(rtsp.STOP)
    time.sleep(2.5)
    server.signal(rtsp.CONTINUE)


def stalled(server: rtsp.Server, network: rtsp.Network) -> None:
    network.flowing.clear()  # the server goes on filming, into the buffers in between
    time.sleep(1.2)
    network.flowing.set()


def slowed(server: rtsp.Server, network: rtsp.Network) -> None:
    network.bytes_a_second = 15_000.0  # far below the stream's rate: frames come ever later
    time.sleep(4.0)
    network.bytes_a_second = None


def cut(server: rtsp.Server, network: rtsp.Network) -> None:
    network.cut()


FAULTS: tuple[Callable[[rtsp.Server, rtsp.Network], None], ...] = (
    killed, stalled, frozen, restarted, slowed, cut,
)  # fmt: skip


@pytest.mark.parametrize("backend", ["opencv", "gstreamer"])
def test_verdicts_come_back_after_every_fault_and_never_on_an_old_frame(
    server: rtsp.Server, backend: str
) -> None:
    process = psutil.Process()
    network = rtsp.Network(server.port)
    threads, files = threading.active_count(), process.num_fds()
    watcher = Watcher(LiveSource(server.address(network.port), "line", settings(backend)))
    try:
        watcher.wait_for_verdict(0.0)
        for cycle in range(CYCLES):
            FAULTS[cycle % len(FAULTS)](server, network)
            watcher.wait_for_verdict(time.monotonic())
            print(f"{backend}, cycle {cycle}: {len(watcher.ages)} verdicts", flush=True)
            assert watcher.problems == []
    finally:
        watcher.close()
        network.close()
    assert watcher.problems == []
    assert watcher.numbers == sorted(set(watcher.numbers))
    time.sleep(1.0)
    assert threading.active_count() <= threads
    assert process.num_fds() <= files
    assert process.children() == [psutil.Process(server.pid)]


def test_the_age_said_is_the_true_age_but_for_the_streams_own_lag(server: rtsp.Server) -> None:
    source = open_source(server.address(), live=settings())
    differences = []
    for frame in source:
        said = (time.monotonic() - frame.captured) * 1000
        differences.append(rtsp.age_ms(frame.image) - said)
        if len(differences) == 40:
            break
    source.close()
    assert 0 <= np.median(differences) < LAG_MS


def test_a_password_opens_the_stream_and_is_shown_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = rtsp.Server("--user", "line", "--password", "s3cret")
    try:
        told: list[str] = []
        source = open_sources(
            [server.address(credentials="line:s3cret@")],
            live=settings(),
            on_state=lambda *what: told.append(" ".join(map(str, what))),
        )
        frame = next(iter(source))
        source.close()
        with pytest.raises(SourceError) as refused:
            open_source(server.address(credentials="line:wr0ng@"), live=settings())
    finally:
        server.kill()
    shown = [frame.source, source.name, *told, str(refused.value), *capfd.readouterr()]
    assert frame.source == server.address()
    assert not any("s3cret" in text or "wr0ng" in text for text in shown)


def test_several_streams_at_once_keep_apart(server: rtsp.Server) -> None:
    other = rtsp.Server()
    try:
        source = open_sources([server.address(), other.address()], live=settings())
        seen: dict[str, list[int]] = {}
        for frame in source:
            seen.setdefault(frame.source, []).append(frame.number)
            if len(seen) == 2 and min(map(len, seen.values())) >= 20:
                break
        source.close()
    finally:
        other.kill()
    assert set(seen) == {server.address(), other.address()}
    assert all(numbers == sorted(set(numbers)) for numbers in seen.values())
