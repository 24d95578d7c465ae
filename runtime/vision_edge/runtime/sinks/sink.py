"""What takes verdicts, and several of them as one."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Protocol

from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame


class Sink(Protocol):
    """Something that takes verdicts, one by one, and is closed at the end."""

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Take one verdict and the frame it is about."""

    def close(self) -> None:
        """Finish."""


class Sinks:
    """Several sinks as one; a context manager that closes them all, whatever happens."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.close)

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Pass a verdict to every sink."""
        for sink in self._sinks:
            sink.write(frame, verdict)
