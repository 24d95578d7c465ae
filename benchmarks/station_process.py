"""A real `vision-edge serve` on two rendered videos, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from vision_edge.demo.conveyor import inspection_window, write_video
from vision_edge.demo.script import draw_cast
from vision_edge.demo.snapshots import snapshot
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.registration import snapshot_of

EMBEDDED = Path(__file__).parents[1] / "runtime/vision_edge/runtime/assets/bundle"
_MAIN = "from vision_edge.cli.app import main; main()"


@dataclass(frozen=True)
class Plan:
    """What is served.

    Attributes:
        fps: Frames a second of each source.
        max_rate: Of them judged a second and source.
        frames: Length of the videos; they are looped.
        bundle: The bundle.
        threads: CPU threads an inference.
        server: Further lines of `[server]`.
        token: What requests bear, where the station knows users.
    """

    fps: float = 30.0
    max_rate: float = 5.0
    frames: int = 300
    bundle: Path = EMBEDDED
    threads: int = 1
    server: tuple[str, ...] = ()
    token: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A verdict as it arrived: at which time (monotonic seconds), from where, and how old."""

    at: float
    source: str
    age_ms: float


class StationProcess:
    """Starts a station, listens to its verdicts, stops it.

    Args:
        folder: For videos, gallery, settings and state.
        plan: What is served: two sources.
        more: Further settings, as TOML.
        settings: All settings instead, as TOML.

    Attributes:
        url: The station's address.
        verdicts: All that have arrived.
    """

    def __init__(
        self, folder: Path, plan: Plan | None = None, more: str = "", settings: str | None = None
    ) -> None:
        self.verdicts: list[Verdict] = []
        self.url = ""
        self._folder, self._token = folder, plan.token
        self._config = folder / "station.toml"
        if settings is None:
            settings = _prepared(folder, plan or Plan()) + more
        self._config.write_text(settings)
        self._log = (folder / "station.log").open("w+")
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StationProcess:
        """Start it, and wait until it gives verdicts."""
        line = [sys.executable, "-c", _MAIN, "serve", "--config", str(self._config), "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            line, stdout=self._log, stderr=self._log, env=environment, cwd=self._folder
        )
        self._seen = psutil.Process(self._process.pid)
        self.url = self._address()
        threading.Thread(target=self._listen, daemon=True).start()
        self._wait(lambda: len(self.verdicts) > 2, 60.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._closing = True
        assert self._process is not None
        self._process.terminate()
        began = time.monotonic()
        self._process.wait(15)
        self.stopped_in = time.monotonic() - began
        self._log.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def get(self, path: str) -> Any:
        """Return an answer's JSON values."""
        with self._opened(path, 10) as response:
            return json.load(response)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        with self._opened("/metrics", 10) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith((name + " ", name + "{"))
        )

    def resources(self) -> dict[str, float]:
        """Return resident memory in MB, threads, open files and CPU seconds, children included."""
        processes = [self._seen, *self._seen.children(recursive=True)]
        found = {"rss_mb": 0.0, "threads": 0.0, "files": 0.0, "cpu_s": 0.0}
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found["rss_mb"] += process.memory_info().rss / 1e6
                found["threads"] += process.num_threads()
                found["files"] += process.num_fds()
                found["cpu_s"] += times.user + times.system
        return found

    def ages(self, start: float, end: float) -> list[float]:
        """Return the ages, ms, of the verdicts that arrived from `start` to `end`."""
        return [v.age_ms for v in list(self.verdicts) if start <= v.at < end]

    def _address(self) -> str:
        """Wait for the line that says where it serves."""
        found: list[str] = []

        def said() -> bool:
            text = Path(self._log.name).read_text()
            found.extend(line.split()[-1] for line in text.splitlines() if "serving on" in line)
            return bool(found)

        self._wait(said, 90.0)
        return found[0]

    def _wait(self, condition: Any, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the station does not run:\n" + Path(self._log.name).read_text())
            time.sleep(0.05)

    def _listen(self) -> None:
        """Read the event stream; after a break, again."""
        while not self._closing:
            with (
                suppress(OSError, ValueError),
                self._opened("/api/v1/verdicts/stream", 30) as stream,
            ):
                self._take(stream)

    def _opened(self, path: str, timeout: float) -> Any:
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(self.url + path, headers=headers)
        return urllib.request.urlopen(request, timeout=timeout)

    def _take(self, stream: Any) -> None:
        kind = ""
        for raw in stream:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: ") and kind == "verdict":
                record = json.loads(line[6:])
                now = time.monotonic()
                self.verdicts.append(Verdict(now, record["source_name"], record["age_ms"]))


def _prepared(folder: Path, plan: Plan) -> str:
    """Render the videos, register the parts, and return the settings as TOML."""
    session = open_session(load_bundle(plan.bundle), "cpu", plan.threads)
    lines = [
        f'bundle = "{plan.bundle.absolute()}"',
        f'gallery = "{folder}/gallery.db"',
        'provider = "cpu"',
        f"threads = {plan.threads}",
        "[station]",
        'name = "bench"',
        f'state_dir = "{folder}/state"',
        "[server]",
        "requests_per_second = 10000.0",
        *plan.server,
    ]
    for number in range(2):
        cast = draw_cast(number, 8)
        video = folder / f"camera-{number}.mp4"
        conveyor = cast.conveyor()
        write_video(video, conveyor, min(plan.frames, len(conveyor)))
        x0, y0, x1, y1 = inspection_window(cast.config)
        lines += [
            "[[sources]]",
            f'name = "camera-{number}"',
            f'address = "{video}"',
            f"roi = [{x0}, {y0}, {x1 - x0}, {y1 - y0}]",
            "loop = true",
            f"fps = {plan.fps}",
            f"max_rate = {plan.max_rate}",
        ]
        if number == 0:
            identity = session.bundle.manifest.identity
            with Gallery(folder / "gallery.db", identity, create=True, author="bench") as gallery:
                for label in cast.registered:
                    gallery.add(label, [snapshot_of(snapshot(cast, label), session, label)])
    return "\n".join(lines) + "\n"
