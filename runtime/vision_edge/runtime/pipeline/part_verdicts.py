"""One verdict a part: triggers find parts, their frames agree, repeats are dropped."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics
from vision_edge.runtime.pipeline.frame_views import FrameViews, ViewSettings, kind_of
from vision_edge.runtime.pipeline.triggers import Trigger, View
from vision_edge.runtime.recognition.part_consensus import Box, PartVerdict
from vision_edge.runtime.recognition.part_tracking import (
    PartCounts,
    PartSettings,
    PartTracker,
    Sighting,
)
from vision_edge.runtime.recognition.prototypes import Classifier, Decision
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.sources.frame import Frame, Source

_KEPT = 60
"""Frames kept for evidence; of parts that stay longer the last."""
_RATE = 25.0
"""Frames a second of a file that does not say: a folder of pictures."""


InView = Callable[[Frame, list[LocatedPart]], None]
"""Told of each frame which parts are in it."""


@dataclass
class PartStatistics(RunStatistics):
    """What a run did, and what became of the parts.

    Attributes:
        parts: By camera or file.
    """

    parts: dict[str, PartCounts] = field(default_factory=dict)

    @property
    def missed(self) -> int:
        """Parts that were in view and not judged once, at all cameras."""
        return sum(counts.missed for counts in self.parts.values())


@dataclass
class Debounce:
    """Drops a verdict that repeats the last one too soon: a part that came back, or never left.

    Attributes:
        seconds: From the last frame of one part to the first of the next; 0 drops nothing.
    """

    seconds: float
    _said: object = None
    _until: float = -1.0

    def passes(self, decision: Decision, first: float, last: float) -> bool:
        """Whether a verdict on frames captured from `first` to `last` is news."""
        asked = decision.verification
        said = (decision.label, asked and (asked.expected, asked.answer))
        repeats = decision.label is not None and said == self._said and first < self._until
        self._said, self._until = said, last + self.seconds
        return not repeats or self.seconds <= 0


@dataclass
class _Camera:
    """What is under way at one camera."""

    trigger: Trigger
    tracker: PartTracker
    debounce: Debounce
    views: FrameViews
    frames: OrderedDict[int, Frame] = field(default_factory=OrderedDict)


def part_verdicts(
    source: Source,
    embedder: Embedder,
    classifier: Classifier,
    make_trigger: Callable[[], Trigger],
    settings: PartSettings | None = None,
    *,
    debounce: float = 0.0,
    max_age_ms: float = 1000.0,
    views: ViewSettings | None = None,
    statistics: RunStatistics | None = None,
    in_view: InView | None = None,
) -> Iterator[tuple[Frame, Verdict]]:
    """Give one verdict on each part.

    Args:
        source: Where frames come from; each of several cameras has parts of its own.
        embedder: A session.
        classifier: The products to tell apart.
        make_trigger: Makes a trigger for a camera.
        settings: How parts are followed, and when they are reported.
        debounce: Seconds within which the same product is not reported again.
        max_age_ms: A live frame older than this is not judged.
        views: How many views a part is embedded by in each frame. With one, its frames take turns.
        statistics: Filled in along the way; `frames` counts verdicts. A `PartStatistics` also
            hears what became of the parts, and goes on from what it has.
        in_view: Called with each frame and the located parts in it, as far as they are known.

    Yields:
        The frame that speaks most for a verdict, and the verdict. Its age is that frame's.
    """
    counts = statistics or RunStatistics()
    started = time.monotonic()
    cameras: dict[str, _Camera] = {}
    for frame in source:
        name = frame.source if source.live else source.name
        if name not in cameras:
            known = counts.parts.get(name) if isinstance(counts, PartStatistics) else None
            tracker = PartTracker(classifier, settings, known)
            cameras[name] = _Camera(make_trigger(), tracker, Debounce(debounce), FrameViews(views))
            if isinstance(counts, PartStatistics):
                counts.parts[name] = tracker.counts
        at = frame.captured if source.live else frame.number / (source.fps or _RATE)
        limit = max_age_ms if source.live else None
        for verdict in _step(cameras[name], frame, at, embedder, limit, counts):
            counts.seconds = time.monotonic() - started
            yield verdict
        if in_view is not None:
            in_view(frame, [LocatedPart(*one) for one in cameras[name].tracker.in_view(at)])
    for camera in cameras.values():
        yield from _told(camera, camera.tracker.finish(), counts)
    counts.seconds = time.monotonic() - started


def _step(
    camera: _Camera,
    frame: Frame,
    at: float,
    embedder: Embedder,
    max_age_ms: float | None,
    counts: RunStatistics,
) -> Iterator[tuple[Frame, Verdict]]:
    """Take one frame of a camera; yield what is to be told."""
    look = camera.trigger.look(frame)
    if look.ends:
        yield from _told(camera, camera.tracker.finish(), counts)
    began = time.monotonic()
    seen = _seen(camera, embedder, look.parts, at, counts)
    counts.session_seconds += time.monotonic() - began if look.parts else 0.0
    if max_age_ms is not None and 1000 * (time.monotonic() - frame.captured) > max_age_ms:
        counts.stale += any(sighting.embedding is not None for sighting in seen)
        seen = [Sighting(one.box, None, stale=one.embedding is not None) for one in seen]
    if any(sighting.embedding is not None for sighting in seen):
        _keep(camera, frame)
    size = (frame.image.shape[1], frame.image.shape[0])
    yield from _told(camera, camera.tracker.look(frame.number, at, seen, size), counts)
    if look.last:
        yield from _told(camera, camera.tracker.finish(), counts)


def _seen(
    camera: _Camera, embedder: Embedder, parts: Sequence[View], at: float, counts: RunStatistics
) -> list[Sighting]:
    """Embed the parts that are wholly in view and worth it, all of a frame together."""
    boxes = [part.box for part in parts]
    needed = camera.tracker.needs(boxes, at)
    turns = camera.tracker.judged(boxes, at)
    wanted = [k for k, part in enumerate(parts) if part.image is not None and needed[k]]
    prepared = [
        camera.views.prepared(image, embedder.spec, turns[k])
        for k in wanted
        if (image := parts[k].image) is not None
    ]
    counts.judged += len(prepared)
    counts.fewer_views += sum(len(views) < camera.views.asked for views in prepared)
    found = dict(zip(wanted, camera.views.embed(embedder, prepared), strict=True))
    kinds = {k: kind_of(views, turns[k]) for k, views in zip(wanted, prepared, strict=True)}
    return [
        Sighting(part.box, found[k][0], False, kinds[k], found[k][1])
        if k in found
        else Sighting(part.box)
        for k, part in enumerate(parts)
    ]


def _keep(camera: _Camera, frame: Frame) -> None:
    camera.frames[frame.number] = frame
    while len(camera.frames) > _KEPT:
        camera.frames.popitem(last=False)


def _told(
    camera: _Camera, parts: list[PartVerdict], counts: RunStatistics
) -> Iterator[tuple[Frame, Verdict]]:
    """Turn verdicts on parts into what is reported."""
    for part in parts:
        kept = [camera.frames[n] for n in part.evidence_frames if n in camera.frames]
        best = kept[0] if kept else next(reversed(camera.frames.values()))
        first = camera.frames.get(part.first, next(iter(camera.frames.values()))).captured
        last = camera.frames.get(part.last, best).captured
        if camera.debounce.passes(part.decision, first, last):
            counts.frames += 1
            age_ms = 1000 * (time.monotonic() - best.captured)
            now = datetime.now(timezone.utc)
            where = () if part.box is None else (_located(part, part.box),)
            yield (
                best,
                Verdict(
                    now,
                    best.source,
                    best.number,
                    age_ms,
                    part.decision,
                    part,
                    where,
                    embedding=part.embedding,
                ),
            )


def _located(part: PartVerdict, box: Box) -> LocatedPart:
    return LocatedPart(box, part.decision, part.number, part.embedding)
