"""A verdict a frame on all parts that are in it, embedded together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.part_outlines import Box, area
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics
from vision_edge.runtime.pipeline.frame_views import FrameViews, ViewSettings
from vision_edge.runtime.pipeline.part_verdicts import InView
from vision_edge.runtime.pipeline.triggers import View, located_views
from vision_edge.runtime.recognition.prototypes import Classifier, Decision
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.sources.frame import Frame, Source


def located_verdicts(
    source: Source,
    embedder: Embedder,
    classifier: Classifier,
    make_locator: Callable[[], Locator],
    *,
    max_age_ms: float = 1000.0,
    views: ViewSettings | None = None,
    statistics: RunStatistics | None = None,
    in_view: InView | None = None,
) -> Iterator[tuple[Frame, Verdict]]:
    """Give a verdict on each frame with a part wholly in view: on all parts in it.

    Args:
        source: Where frames come from. Of a live source only fresh frames are judged.
        embedder: A session.
        classifier: The products to tell apart.
        make_locator: Makes what finds the parts, for each camera its own.
        max_age_ms: A live frame older than this gets no verdict.
        views: How many views a part is embedded by; one by default.
        statistics: Filled in along the way; `empty` counts frames with nothing wholly in view.
        in_view: Called with each frame and the parts in it.

    Yields:
        Each such frame with its verdict, in order; the verdict's own decision is on the largest.
    """
    counts = statistics or RunStatistics()
    started = time.monotonic()
    locators: dict[str, Locator] = {}
    frame_views = FrameViews(views)
    for frame in source:
        name = frame.source if source.live else source.name
        locator = locators.setdefault(name, locators.get(name) or make_locator())
        parts = judged(
            located_views(locator, frame.image), embedder, classifier, frame_views, counts
        )
        if in_view is not None:
            in_view(frame, parts)
        counts.seconds = time.monotonic() - started
        whole = tuple(part for part in parts if part.decision is not None)
        age_ms = (time.monotonic() - frame.captured) * 1000.0
        if not whole:
            counts.empty += 1
        elif source.live and age_ms > max_age_ms:
            counts.stale += 1
        else:
            counts.frames += 1
            yield frame, _verdict(frame, age_ms, whole)


def judged(
    parts: Sequence[View],
    embedder: Embedder,
    classifier: Classifier,
    views: FrameViews,
    counts: RunStatistics,
) -> list[LocatedPart]:
    """Judge the parts of a frame that are wholly in view, all in one inference.

    Args:
        parts: The parts in view, each with its box.
        embedder: A session.
        classifier: The products to tell apart.
        views: How many views a part is embedded by.
        counts: Where seconds are counted.

    Returns:
        All parts, in order; without a decision those that are not wholly in view.
    """
    wanted = [part.image for part in parts if part.image is not None]
    answers: Iterator[tuple[Decision, Embeddings]] = iter(())
    if wanted:
        began = time.monotonic()
        prepared = [views.prepared(image, embedder.spec) for image in wanted]
        counts.judged += len(wanted)
        counts.fewer_views += sum(len(each) < views.asked for each in prepared)
        embedded = views.embed(embedder, prepared)
        counts.session_seconds += time.monotonic() - began
        vectors, patches = np.stack([e for e, _ in embedded]), [p for _, p in embedded]
        answers = zip(classifier.classify(vectors, patches), vectors, strict=True)
    return [
        LocatedPart(part.box, None) if part.image is None else _located(part.box, *next(answers))
        for part in parts
        if part.box is not None
    ]


def _located(box: Box, decision: Decision, embedding: Embeddings) -> LocatedPart:
    return LocatedPart(box, decision, embedding=embedding)


def _verdict(frame: Frame, age_ms: float, parts: tuple[LocatedPart, ...]) -> Verdict:
    largest = max(parts, key=lambda part: area(part.box))
    assert largest.decision is not None
    now = datetime.now(timezone.utc)
    return Verdict(
        now,
        frame.source,
        frame.number,
        age_ms,
        largest.decision,
        parts=parts,
        embedding=largest.embedding,
    )
