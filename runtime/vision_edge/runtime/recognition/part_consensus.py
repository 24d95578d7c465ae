"""One answer a part: what the frames on which it was judged agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.recognition.prototypes import Classifier, Decision
from vision_edge.runtime.recognition.verification import Verification

Method = Literal["mean", "votes"]
METHODS: tuple[Method, ...] = ("mean", "votes")
EVIDENCE = 3
"""How many frames are named as evidence."""
LEAST_OF_A_KIND = 3
"""Frames of a kind from which on they are compared with each other alone."""
Box = tuple[int, int, int, int]
"""Pixel rectangle (x0, y0, x1, y1), the right and lower edges excluded."""


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on one part.

    Attributes:
        first: Number of the first frame it was judged on.
        last: Number of the last one.
        evidence: Number of the frame that speaks most for the verdict.
        frames: How many frames were judged.
        decision: What they agree on.
        evidence_frames: Numbers of the frames that speak most for it, best first.
        number: Which part of its camera it is, from 1 in the order of reporting.
        box: Where it lies in the frame `evidence`; None for the whole picture.
        embedding: float32 (D,) of the part in the frame `evidence`.
    """

    first: int
    last: int
    evidence: int
    frames: int
    decision: Decision
    evidence_frames: tuple[int, ...] = ()
    number: int = 0
    box: Box | None = None
    embedding: Embeddings | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Consensus:
    """What several frames of one part agree on.

    Attributes:
        decision: The answer.
        order: int (frames,): the frames that speak for it, the best evidence first.
    """

    decision: Decision
    order: NDArray[np.intp]


def agree(
    classifier: Classifier,
    method: Method,
    embeddings: Sequence[Embeddings],
    kinds: Sequence[int] = (),
    patches: Sequence[Patches | None] = (),
) -> Consensus:
    """Judge a part by all of its frames.

    Args:
        classifier: The products to tell apart.
        method: `"mean"` judges the mean embedding of the half of the frames that agree best, so
            that a hand or a glare in some of them does not count (of frames of several kinds, the
            half of each, as soon as there are three of each); `"votes"` judges each frame and
            takes the answer of most, unknown where none has more than half.
        embeddings: float32 (D,) of each frame, at least one.
        kinds: Which view of the part each frame is by; all the same by default.
        patches: float32 (T, D) of each frame, or None; none at all by default.
    """
    stacked = np.stack(embeddings)
    shown = list(patches) or [None] * len(stacked)
    if method == "votes":
        return _by_votes(classifier, stacked, shown)
    return _by_mean(classifier, stacked, np.array(kinds or [0] * len(stacked)), shown)


def _by_mean(
    classifier: Classifier,
    stacked: Embeddings,
    kinds: NDArray[np.int_],
    patches: Sequence[Patches | None],
) -> Consensus:
    """Judge the mean of those that agree, and the patches of the frame that agrees best."""
    distance, agreeing = _agreement(stacked, kinds)
    order = distance.argsort()
    mean = stacked[agreeing].mean(axis=0, dtype=np.float32)
    (decision,) = classifier.classify(mean, [patches[int(order[0])]])
    return Consensus(decision, order)


def _agreement(
    stacked: Embeddings, kinds: NDArray[np.int_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return each frame's squared distance to the median of its kind, and the nearer half of each.

    Two frames of a kind cannot tell which of them is odd: with fewer than three of any kind, all
    frames count as one.

    Args:
        stacked: float32 (frames, D).
        kinds: int (frames,).
    """
    if np.unique(kinds, return_counts=True)[1].min() < LEAST_OF_A_KIND:
        kinds = np.zeros_like(kinds)
    distance = np.empty(len(stacked), np.float32)
    agreeing = np.zeros(len(stacked), bool)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        distance[rows] = np.square(stacked[rows] - np.median(stacked[rows], axis=0)).sum(axis=1)
        agreeing[rows[distance[rows].argsort()[: (len(rows) + 1) // 2]]] = True
    return distance, agreeing


def _by_votes(
    classifier: Classifier, stacked: Embeddings, patches: Sequence[Patches | None]
) -> Consensus:
    """Judge each frame; the decision is the median one of those for the winner."""
    decisions = classifier.classify(stacked, patches)
    winner, votes = Counter(decision.label for decision in decisions).most_common(1)[0]
    if 2 * votes <= len(decisions):
        winner = None
    scores = np.array([decision.score for decision in decisions])
    mine = np.flatnonzero([decision.label == winner for decision in decisions])
    if not len(mine):  # every frame is known, but they do not agree
        nearest = decisions[int(scores.argmax())]
        return Consensus(_undecided(nearest, _voted(decisions)), (-scores).argsort())
    order = mine[(-scores[mine]).argsort(kind="stable")]
    middle = decisions[int(order[len(order) // 2])]
    return Consensus(replace(middle, verification=_voted(decisions)), order)


def _undecided(decision: Decision, verification: Verification | None) -> Decision:
    return replace(decision, label=None, known=False, review=True, verification=verification)


def _voted(decisions: Sequence[Decision]) -> Verification | None:
    """Return the middle one of the answers that more than half of the frames give, or unsure."""
    each = [one.verification for one in decisions if one.verification is not None]
    if not each:
        return None
    each.sort(key=lambda one: -1.0 if one.score is None else one.score)
    middle = each[len(each) // 2]
    answer, votes = Counter(one.answer for one in each).most_common(1)[0]
    if 2 * votes <= len(each):
        return replace(middle, answer="unsure", reason="between")
    winners = [one for one in each if one.answer == answer]
    return winners[len(winners) // 2]
