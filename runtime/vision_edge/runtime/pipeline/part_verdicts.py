"""One verdict a part: triggers find parts, their frames agree, repeats are dropped."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from vision_edge.runtime.inference.embedder import Embedder, embed_frame
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics
from vision_edge.runtime.pipeline.triggers import Trigger
from vision_edge.runtime.recognition.part_consensus import PartVerdict, Passages
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame, Source

_KEPT = 60
"""Frames of a passage kept for evidence; of longer passages the last."""


@dataclass
class Debounce:
    """Drops a verdict that repeats the last one too soon: a part that came back, or never left.

    Attributes:
        seconds: From the end of one passage to the start of the next; 0 drops nothing.
    """

    seconds: float
    _label: str | None = None
    _until: float = -1.0

    def passes(self, verdict: PartVerdict, first: float, last: float) -> bool:
        """Whether a verdict on frames captured from `first` to `last` is news."""
        label = verdict.decision.label
        repeats = label is not None and label == self._label and first < self._until
        self._label, self._until = label, last + self.seconds
        return not repeats or self.seconds <= 0


@dataclass
class _Line:
    """What is under way at one camera."""

    trigger: Trigger
    passages: Passages
    debounce: Debounce
    frames: OrderedDict[int, Frame] = field(default_factory=OrderedDict)
    first: float = 0.0


def part_verdicts(
    source: Source,
    embedder: Embedder,
    make_trigger: Callable[[], Trigger],
    make_passages: Callable[[], Passages],
    *,
    debounce: float = 0.0,
    max_age_ms: float = 1000.0,
    statistics: RunStatistics | None = None,
) -> Iterator[tuple[Frame, Verdict]]:
    """Give one verdict on each part.

    Args:
        source: Where frames come from; several cameras are several lines.
        embedder: A session.
        make_trigger: Makes a trigger for a camera.
        make_passages: Makes what gathers a camera's frames.
        debounce: Seconds within which the same product is not reported again.
        max_age_ms: A live frame older than this is not judged.
        statistics: Filled in along the way; `frames` counts verdicts.

    Yields:
        The frame that speaks most for a verdict, and the verdict. Its age is that frame's.
    """
    counts = statistics or RunStatistics()
    started = time.monotonic()
    lines: dict[str, _Line] = {}
    for frame in source:
        name = frame.source if source.live else source.name
        if name not in lines:
            lines[name] = _Line(make_trigger(), make_passages(), Debounce(debounce))
        for verdict in _step(lines[name], frame, embedder, source.live, max_age_ms, counts):
            counts.seconds = time.monotonic() - started
            yield verdict
    for line in lines.values():
        yield from _told(line, list(line.passages.finish()), counts)
    counts.seconds = time.monotonic() - started


def _step(
    line: _Line,
    frame: Frame,
    embedder: Embedder,
    live: bool,
    max_age_ms: float,
    counts: RunStatistics,
) -> Iterator[tuple[Frame, Verdict]]:
    """Take one frame of a line; yield what it brings to an end."""
    look = line.trigger.look(frame)
    if look.ends:
        yield from _told(line, list(line.passages.finish()), counts)
    embedding = None
    if look.image is not None:
        began = time.monotonic()
        embedding = embed_frame(embedder, look.image)
        counts.session_seconds += time.monotonic() - began
        if live and 1000 * (time.monotonic() - frame.captured) > max_age_ms:
            counts.stale += 1
            embedding = None
    ended = list(line.passages.add(frame.number, embedding))
    yield from _told(line, ended, counts)
    if embedding is not None:
        _keep(line, frame)


def _keep(line: _Line, frame: Frame) -> None:
    if not line.frames:
        line.first = frame.captured
    line.frames[frame.number] = frame
    while len(line.frames) > _KEPT:
        line.frames.popitem(last=False)


def _told(
    line: _Line, parts: list[PartVerdict], counts: RunStatistics
) -> Iterator[tuple[Frame, Verdict]]:
    """Turn a passage's verdict into what is reported, and forget its frames."""
    for part in parts:
        kept = [line.frames[n] for n in part.evidence_frames if n in line.frames]
        best = kept[0] if kept else next(reversed(line.frames.values()))
        last = next(reversed(line.frames.values())).captured
        if line.debounce.passes(part, line.first, last):
            counts.frames += 1
            age_ms = 1000 * (time.monotonic() - best.captured)
            now = datetime.now(timezone.utc)
            yield best, Verdict(now, best.source, best.number, age_ms, part.decision, part)
    if parts:
        line.frames.clear()
