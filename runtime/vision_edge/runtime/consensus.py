"""One verdict a part: the frames of its passage agree on one answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.prototypes import Decision, PrototypeClassifier


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on one part that passed.

    Attributes:
        first: Number of the first frame it was judged on.
        last: Number of the last one.
        evidence: Number of the frame whose embedding is nearest to the consensus.
        frames: How many frames were judged.
        decision: From the mean embedding of the half of them that agree best, so that a hand or
            a glare in some frames does not count.
    """

    first: int
    last: int
    evidence: int
    frames: int
    decision: Decision


class Passages:
    """Gathers the frames of each part's passage and judges it once, when it is over.

    Args:
        classifier: The products to tell apart.
        gap: Frames without a complete part after which a passage is over.
        least: Passages of fewer frames than this are dropped: a speck, a shadow, a flicker.
    """

    def __init__(self, classifier: PrototypeClassifier, gap: int = 3, least: int = 3) -> None:
        self._classifier = classifier
        self._gap = gap
        self._least = least
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

    def finish(self) -> Iterator[PartVerdict]:
        """End the passage, if one is under way; yield its verdict, if it was long enough."""
        frames, embeddings = self._frames, self._embeddings
        self._frames, self._embeddings = [], []
        if len(frames) >= self._least:
            yield self._judge(frames, np.stack(embeddings))

    def _judge(self, frames: list[int], stacked: Embeddings) -> PartVerdict:
        """Judge a passage by its embeddings, float32 (frames, D)."""
        distance = np.square(stacked - np.median(stacked, axis=0)).sum(axis=1)
        order = distance.argsort()
        agreeing = stacked[order[: (len(order) + 1) // 2]]
        (decision,) = self._classifier.classify(agreeing.mean(axis=0, dtype=np.float32))
        return PartVerdict(frames[0], frames[-1], frames[int(order[0])], len(frames), decision)
