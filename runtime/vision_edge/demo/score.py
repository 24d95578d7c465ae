"""The demonstration's score: verdicts against the truth of what was on the belt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vision_edge.demo.script import Cast
from vision_edge.demo.settings import FrameTruth
from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.part_motion import iou

_VISIBLE = 0.95
_LEAST_FRAMES = 3
_AT = 0.3
"""Least overlap (intersection over union) of a verdict's box with the part that it is on."""


@dataclass(frozen=True)
class Passage:
    """One part that passed, and the verdict on it.

    Attributes:
        label: What it was.
        known: Whether it is registered.
        first: First frame in which it was wholly in the inspection window, and not hidden.
        last: Last such frame.
        verdict: The verdict given while it was there, or None if it was missed.
    """

    label: str
    known: bool
    first: int
    last: int
    verdict: PartVerdict | None

    @property
    def answer(self) -> str | None:
        """What the verdict says: a label, or None for unknown or no verdict."""
        return self.verdict.decision.label if self.verdict else None

    @property
    def right(self) -> bool:
        """A registered part is named, and a stranger is judged and refused."""
        if self.verdict is None:
            return False
        return self.answer == (self.label if self.known else None)


@dataclass(frozen=True)
class Score:
    """Every passage with its verdict, and verdicts given where no part was.

    Attributes:
        passages: In order of their time.
        spurious: Verdicts that name a product although none passed.
    """

    passages: tuple[Passage, ...]
    spurious: tuple[PartVerdict, ...]

    def share(self, known: bool) -> tuple[int, int]:
        """Return how many of the registered parts' (or the strangers') passages are right."""
        chosen = [passage for passage in self.passages if passage.known == known]
        return sum(passage.right for passage in chosen), len(chosen)

    def by_part(self) -> dict[str, tuple[int, int]]:
        """Return right and all passages of each part."""
        counts: dict[str, tuple[int, int]] = {}
        for passage in self.passages:
            right, total = counts.get(passage.label, (0, 0))
            counts[passage.label] = (right + passage.right, total + 1)
        return counts


def score(
    cast: Cast,
    truth: Sequence[FrameTruth],
    verdicts: Sequence[PartVerdict],
    corner: tuple[int, int] = (0, 0),
) -> Score:
    """Compare verdicts with the truth.

    A passage counts if the part was wholly in the inspection window and not hidden for at least
    three frames; a part without a verdict counts as wrong. A verdict with a box is on the part that
    lies there in its best frame, one without on the part that shares most frames with it.

    Args:
        cast: Which parts are registered.
        truth: Of every frame, in order.
        verdicts: One a part, in order.
        corner: Where the boxes' picture lies in the frame.
    """
    seen: dict[int, tuple[str, list[int]]] = {}
    for frame in truth:
        for part in frame.parts:
            if part.centred and part.visible_fraction >= _VISIBLE:
                seen.setdefault(part.instance, (part.label, []))[1].append(frame.frame)
    on = [_instances(verdict, truth, seen, corner) for verdict in verdicts]
    passages = [
        _passage(
            label,
            frames,
            label in cast.registered,
            [v for v, i in zip(verdicts, on, strict=True) if k in i],
        )
        for k, (label, frames) in seen.items()
        if len(frames) >= _LEAST_FRAMES
    ]
    spurious = tuple(
        verdict
        for verdict, instances in zip(verdicts, on, strict=True)
        if verdict.decision.known and not instances
    )
    return Score(tuple(sorted(passages, key=lambda p: p.first)), spurious)


def _instances(
    verdict: PartVerdict,
    truth: Sequence[FrameTruth],
    seen: Mapping[int, tuple[str, list[int]]],
    corner: tuple[int, int],
) -> set[int]:
    """Return which parts a verdict may be on: the one at its box, or all that share its frames."""
    if verdict.box is None:
        return {k for k, (_, frames) in seen.items() if _overlap(verdict, frames)}
    x, y = corner
    x0, y0, x1, y1 = verdict.box
    box = (x0 + x, y0 + y, x1 + x, y1 + y)
    near = {part.instance: iou(part.bbox, box) for part in truth[verdict.evidence].parts}
    best = max(near, key=lambda k: near[k], default=None)
    return set() if best is None or near[best] < _AT else {best}


def _passage(
    label: str, frames: list[int], known: bool, verdicts: Sequence[PartVerdict]
) -> Passage:
    """Give a passage, of the verdicts that may be on it, the one that shares most frames."""
    best = max(verdicts, key=lambda verdict: _overlap(verdict, frames), default=None)
    return Passage(label, known, frames[0], frames[-1], best)


def _overlap(verdict: PartVerdict, frames: Sequence[int]) -> int:
    return sum(verdict.first <= frame <= verdict.last for frame in frames)
