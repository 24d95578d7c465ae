"""One verdict a part: the frames of its passage agree on one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.prototypes import Classifier, Decision

Method = Literal["mean", "votes"]
METHODS: tuple[Method, ...] = ("mean", "votes")
EVIDENCE = 3
"""How many frames are named as evidence."""


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on one part that passed.

    Attributes:
        first: Number of the first frame it was judged on.
        last: Number of the last one.
        evidence: Number of the frame that speaks most for the verdict.
        frames: How many frames were judged.
        decision: What they agree on.
        evidence_frames: Numbers of the frames that speak most for it, best first.
    """

    first: int
    last: int
    evidence: int
    frames: int
    decision: Decision
    evidence_frames: tuple[int, ...] = ()


class Passages:
    """Gathers the frames of each part's passage and judges it once, when it is over.

    Args:
        classifier: The products to tell apart.
        gap: Frames without a complete part after which a passage is over.
        least: Passages of fewer frames than this are dropped: a speck, a shadow, a flicker.
        most: A passage of so many frames is judged although it is not over: a part that stays.
        method: `"mean"` judges the mean embedding of the half of the frames that agree best, so
            that a hand or a glare in some of them does not count; `"votes"` judges each frame and
            takes the answer of most, unknown where none has more than half.
    """

    def __init__(
        self,
        classifier: Classifier,
        gap: int = 3,
        least: int = 3,
        most: int = 300,
        method: Method = "mean",
    ) -> None:
        self._classifier = classifier
        self._gap = gap
        self._least = least
        self._most = most
        self._judge = self._by_mean if method == "mean" else self._by_votes
        self._frames: list[int] = []
        self._embeddings: list[Embeddings] = []

    def add(self, frame: int, embedding: Embeddings | None) -> Iterator[PartVerdict]:
        """Take one frame; yield a verdict if it ends a passage.

        Args:
            frame: The frame's number, rising.
            embedding: float32 (D,) of the part, or None where no part is wholly in view.
        """
        if self._frames and frame - self._frames[-1] > self._gap:
            yield from self.finish()
        if embedding is not None:
            self._frames.append(frame)
            self._embeddings.append(embedding)
        if len(self._frames) >= self._most:
            yield from self.finish()

    def finish(self) -> Iterator[PartVerdict]:
        """End the passage, if one is under way; yield its verdict, if it was long enough."""
        frames, embeddings = self._frames, self._embeddings
        self._frames, self._embeddings = [], []
        if len(frames) >= self._least:
            yield self._judge(frames, np.stack(embeddings))

    def _by_mean(self, frames: list[int], stacked: Embeddings) -> PartVerdict:
        """Judge a passage by its embeddings, float32 (frames, D)."""
        distance = np.square(stacked - np.median(stacked, axis=0)).sum(axis=1)
        order = distance.argsort()
        agreeing = stacked[order[: (len(order) + 1) // 2]]
        (decision,) = self._classifier.classify(agreeing.mean(axis=0, dtype=np.float32))
        return _part(frames, order, decision)

    def _by_votes(self, frames: list[int], stacked: Embeddings) -> PartVerdict:
        """Judge each frame; the decision is the median one of those for the winner."""
        decisions = self._classifier.classify(stacked)
        winner, votes = Counter(decision.label for decision in decisions).most_common(1)[0]
        if 2 * votes <= len(decisions):
            winner = None
        scores = np.array([decision.score for decision in decisions])
        mine = np.flatnonzero([decision.label == winner for decision in decisions])
        if not len(mine):  # every frame is known, but they do not agree
            return _part(frames, (-scores).argsort(), _undecided(decisions[int(scores.argmax())]))
        order = mine[(-scores[mine]).argsort(kind="stable")]
        return _part(frames, order, decisions[int(order[len(order) // 2])])


def _part(frames: list[int], order: NDArray[np.intp], decision: Decision) -> PartVerdict:
    """Return the verdict; `order` ranks the frames, the best evidence first."""
    evidence = tuple(frames[int(index)] for index in order[:EVIDENCE])
    return PartVerdict(frames[0], frames[-1], evidence[0], len(frames), decision, evidence)


def _undecided(decision: Decision) -> Decision:
    return Decision(
        None, decision.nearest, decision.score, decision.margin, False, True, decision.stranger_rate
    )
