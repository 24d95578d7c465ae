"""The demonstration's score: verdicts against the truth of what was on the belt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vision_edge.demo.script import Cast
from vision_edge.demo.settings import FrameTruth
from vision_edge.runtime.recognition.part_consensus import PartVerdict

_VISIBLE = 0.95
_LEAST_FRAMES = 3


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


def score(cast: Cast, truth: Sequence[FrameTruth], verdicts: Sequence[PartVerdict]) -> Score:
    """Compare verdicts with the truth.

    A passage counts if the part was wholly in the window and not hidden for at least three
    frames; a part without a verdict counts as wrong.

    Args:
        cast: Which parts are registered.
        truth: Of every frame, in order.
        verdicts: One a part, in order.
    """
    seen: dict[int, tuple[str, list[int]]] = {}
    for frame in truth:
        for part in frame.parts:
            if part.centred and part.visible_fraction >= _VISIBLE:
                seen.setdefault(part.instance, (part.label, []))[1].append(frame.frame)
    passages = [
        _passage(label, frames, label in cast.registered, verdicts)
        for label, frames in seen.values()
        if len(frames) >= _LEAST_FRAMES
    ]
    explained = [frames for _, frames in seen.values()]
    spurious = tuple(
        verdict
        for verdict in verdicts
        if verdict.decision.known and not any(_overlap(verdict, frames) for frames in explained)
    )
    return Score(tuple(sorted(passages, key=lambda p: p.first)), spurious)


def _passage(
    label: str, frames: list[int], known: bool, verdicts: Sequence[PartVerdict]
) -> Passage:
    """Give a passage the verdict that shares most frames with it."""
    shared = [verdict for verdict in verdicts if _overlap(verdict, frames)]
    best = max(shared, key=lambda verdict: _overlap(verdict, frames), default=None)
    return Passage(label, known, frames[0], frames[-1], best)


def _overlap(verdict: PartVerdict, frames: Sequence[int]) -> int:
    return sum(verdict.first <= frame <= verdict.last for frame in frames)
