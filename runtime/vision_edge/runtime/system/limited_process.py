"""A process of its own for what strangers sent: limited in memory, time and files, and killed.

Requests and answers are JSON objects, one a line, over pipes. The process bounds itself before it
sees anything of a stranger's (`serve`), and its parent watches it from outside as well
(`LimitedProcess`): what the one misses, the other ends.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from vision_edge.runtime.errors import VisionEdgeError

MAX_ANSWER = 8 << 20
"""Bytes of an answer."""
_LOOK_S = 0.05
_CHUNK = 1 << 16
_CPU_GRACE_S = 2.0
Answering = Callable[[dict[str, Any]], dict[str, Any]]


class LimitError(VisionEdgeError):
    """A limited process wanted more than it may have, and was ended."""


class RefusedError(VisionEdgeError):
    """A limited process says that what it was given is not fit."""


@dataclass(frozen=True)
class ProcessLimits:
    """What a process may use.

    Attributes:
        memory_mb: Of memory of its own, in MB: what it may ask the system for, and what it holds.
        file_mb: Of one file that it writes, in MB.
        files: Open at once.
        start_s: Seconds until it is there and has bounded itself.
    """

    memory_mb: float = 2048.0
    file_mb: float = 0.0
    files: int = 256
    start_s: float = 60.0


class LimitedProcess:
    """Runs a module's `main`, which calls `serve`. Use it as a context manager, or call `close`.

    Its folder is an empty one, and it sees none of the parent's open files.

    Args:
        module: The module's name.
        limits: What it may use.
        name: What to call it in an error, such as `"the trial of a bundle"`.
    """

    def __init__(self, module: str, limits: ProcessLimits, name: str) -> None:
        self._limits, self._name = limits, name
        self._folder = tempfile.TemporaryDirectory(prefix="vision-edge-")
        paths = [str(Path(entry).absolute()) for entry in sys.path if entry]
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        self._rest = bytearray()
        self._bound = False
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            LimitError: If there is none in time, the process holds too much memory, or it died.
                It is ended then, and answers nothing more.
            RefusedError: If it says that something is not fit; it can be asked again.
        """
        if not self.alive:
            raise self._ended("it has ended")
        try:
            if not self._bound:
                first = {"parent": os.getpid(), **asdict(self._limits)}
                self._bound = bool(self._exchange(first, self._limits.start_s))
            answer = self._exchange({"seconds": seconds, "request": request}, seconds)
        except LimitError:
            self._kill()
            raise
        if "refused" in answer:
            raise RefusedError(str(answer["refused"]), fix=answer.get("fix") and str(answer["fix"]))
        return answer

    def close(self) -> None:
        """End the process."""
        self._kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._folder.cleanup()

    def _exchange(self, document: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send an object, and return the one that comes back in time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        data = json.dumps(document).encode() + b"\n"
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            waiting.register(stdin, selectors.EVENT_WRITE)
            ended = b"\n" in self._rest
            while not ended:
                self._watch(until, seconds)
                for key, _ in waiting.select(_LOOK_S):
                    if key.fileobj is stdout:
                        read = self._read(stdout.fileno())
                        self._rest += read
                        ended = ended or b"\n" in read
                        continue
                    data = self._written(stdin.fileno(), data)
                    if not data:
                        waiting.unregister(stdin)
        line, _, self._rest = self._rest.partition(b"\n")
        return self._parsed(bytes(line))

    def _watch(self, until: float, seconds: float) -> None:
        """Look whether a limit is passed."""
        if time.monotonic() > until:
            raise self._ended(f"it took longer than {seconds:g} s")
        held = resident_mb(self._process.pid)
        if held > self._limits.memory_mb:
            raise self._ended(f"it held more than {self._limits.memory_mb:.0f} MB of memory")
        if len(self._rest) > MAX_ANSWER:
            raise self._ended(f"it answers with more than {MAX_ANSWER} bytes")

    def _read(self, descriptor: int) -> bytes:
        data = os.read(descriptor, _CHUNK)
        if not data:
            raise self._died()
        return data

    def _written(self, descriptor: int, data: bytes) -> bytes:
        """Write what fits; return the rest."""
        try:
            return data[os.write(descriptor, data[:_CHUNK]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            raise self._died() from None

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._ended("it answers what is no JSON object")
        return answer

    def _died(self) -> LimitError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        status = self._process.poll()
        if status == -signal.SIGXCPU:
            return self._ended("it used more of the processor than its time allows")
        how = "no status" if status is None else f"status {status}"
        how = f"signal {-status}" if status is not None and status < 0 else how
        return self._ended(f"it died ({how}), perhaps for want of memory")

    def _ended(self, why: str) -> LimitError:
        return LimitError(f"{self._name} was ended: {why}")

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds of its own, in MB; 0 if that cannot be seen.

    Pages of files, such as its libraries, are not its own: the system takes them back at need.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        sizes = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
        own = (sizes.get("RssAnon", "0 kB"), sizes.get("RssShmem", "0 kB"))
        return sum(int(size.split()[0]) for size in own) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def serve(answering: Answering) -> None:
    """Be the limited process: bound it, then answer requests until the input ends.

    Args:
        answering: Returns the answer to a request, as JSON values; a `VisionEdgeError` or any
            other exception of it becomes a refusal. Called only when the limits hold.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print do so to nowhere
    lines = _lines()
    first = next(lines)
    parent = first.pop("parent")
    _bound(ProcessLimits(**first))
    _die_with(parent)
    _tell(answers, {"bound": True})
    for asked in lines:
        _bound_cpu(float(asked["seconds"]))
        _tell(answers, _safely(answering, asked["request"]))


def _tell(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _lines() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _bound(limits: ProcessLimits) -> None:
    """Set the limits, which the process cannot raise again.

    It is also the first to go where memory runs out, and batch work to the scheduler: whoever waits
    for a camera's frame is woken first.
    """
    size, memory = round(limits.file_mb * 1e6), round(limits.memory_mb * 1e6)
    bounds = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_DATA, memory),
    )
    for kind, most in bounds:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent is gone (`prctl(2)`, Linux)."""
    import ctypes

    set_parent_death_signal = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent is gone")


def _bound_cpu(seconds: float) -> None:
    """Allow so many more seconds on every core; a loop ends even where nobody watches."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cores = len(os.sched_getaffinity(0))
    most = used.ru_utime + used.ru_stime + (seconds + _CPU_GRACE_S) * cores
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = round(most) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _safely(answering: Answering, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return answering(request)
    except VisionEdgeError as error:
        return {"refused": error.what, "fix": error.fix}
    except MemoryError:
        return {"refused": "it needs more memory than it may have", "fix": None}
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return {"refused": f"{type(error).__name__}: {reason[:500]}", "fix": None}
