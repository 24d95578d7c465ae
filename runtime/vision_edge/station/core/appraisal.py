"""How good is the station's gallery, and what would another rate of strangers change?

Told by its own pictures: every registered snapshot, left out once and judged by the others, those
that a person assigned in the review among them; and what a person said is no product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.pipeline.gallery_classifier import (
    catalogue_shift,
    checked_gallery,
    cohort_of,
    prior_of,
    same_picture_of,
)
from vision_edge.runtime.recognition.gallery_check import Checked, GalleryCheck, judge_strangers
from vision_edge.runtime.recognition.prototypes import MAX_REVIEW_RATE, REVIEW_FACTOR, Decision
from vision_edge.runtime.recognition.validation import Tried, Validation
from vision_edge.station.core.errors import NothingToJudgeError

REVIEWED = "review of "
"""What the origin of a picture begins with that a person assigned or rejected."""
MOST_REJECTED = 1000
Said = Literal["named", "wrong", "stranger", "review", "unknown"]


@dataclass(frozen=True)
class Judged:
    """One of the station's own pictures, judged as a new one would be.

    Attributes:
        snapshot: Its number in the gallery.
        product: What it shows; None where a person said that it is no product.
        nearest: The nearest product.
        score: Likeness to that, from -1 to 1.
        rate: Share of strangers that would be as near to it, from 0 to 1.
        reviewed: Whether a person decided on it in the review.
    """

    snapshot: int
    product: str | None
    nearest: str
    score: float
    rate: float
    reviewed: bool

    def said(self, asked: float) -> Said:
        """Return what would be said of it at an asked rate of strangers."""
        if self.rate <= asked:
            if self.product is None:
                return "stranger"
            return "named" if self.nearest == self.product else "wrong"
        return "review" if self.rate <= min(MAX_REVIEW_RATE, REVIEW_FACTOR * asked) else "unknown"

    def tried(self, asked: float) -> Tried:
        """Return it as a labelled picture that was judged at an asked rate."""
        said = self.said(asked)
        known = said in ("named", "wrong", "stranger")
        decision = Decision(
            self.nearest if known else None, self.nearest, self.score, None, known,
            said == "review", self.rate,
        )  # fmt: skip
        return Tried(f"snapshot {self.snapshot}", self.product, decision)


@dataclass(frozen=True)
class Appraisal:
    """What a gallery's own pictures say of it.

    Attributes:
        check: Its snapshots, left out.
        identifiers: Of each product its snapshots' numbers.
        judged: Pictures that something can be told by: of products that have another snapshot, and
            those that are no product.
        version: The gallery's version.
    """

    check: GalleryCheck
    identifiers: dict[str, list[int]]
    judged: tuple[Judged, ...]
    version: int

    def counts(self, asked: float) -> dict[str, int]:
        """Return of how many pictures each would be said."""
        found: dict[str, int] = dict.fromkeys(get_args(Said), 0)
        for one in self.judged:
            found[one.said(asked)] += 1
        return found

    def flips(self, before: float, after: float) -> list[tuple[Judged, Said, Said]]:
        """Return the pictures of which something else would be said, the reviewed first."""
        found = [(one, one.said(before), one.said(after)) for one in self.judged]
        changed = [(one, was, now) for one, was, now in found if was != now]
        return sorted(changed, key=lambda row: (not row[0].reviewed, row[0].rate))

    def validation(self, asked: float, *, reviewed: bool) -> Validation:
        """Return the pictures as labelled pictures that were judged at an asked rate.

        Args:
            asked: Share of strangers that may be taken for a product.
            reviewed: Whether only those that a person decided on in the review.
        """
        rows = [one.tried(asked) for one in self.judged if one.reviewed or not reviewed]
        return Validation(tuple(rows), asked)


def appraised(gallery: Gallery, bundle: Bundle, *, own_frames: bool = True) -> Appraisal:
    """Judge a gallery's own pictures; at whichever rate is for who asks.

    Args:
        gallery: The gallery.
        bundle: What embeds for it.
        own_frames: Whether what the station's camera saw has a say.

    Raises:
        NothingToJudgeError: If it holds no product.
    """
    contents = gallery.contents()
    if not contents.products:
        raise NothingToJudgeError("no product is registered", fix="register one first")
    check = checked_gallery(gallery, bundle, own_frames=own_frames)
    identifiers = {label: list(ids) for label, ids in contents.products.items()}
    files = gallery.snapshots.files()

    def judged(one: Checked, snapshot: int, product: str | None) -> Judged:
        score = max(value for value in (one.score, one.other, -1.0) if value is not None)
        reviewed = files[snapshot].origin.startswith(REVIEWED)
        return Judged(snapshot, product, one.nearest, score, one.rate, reviewed)

    own = [
        judged(one, identifiers[one.product][one.number], one.product)
        for one in check.snapshots
        if one.judged
    ]
    rejected = [i for i, product in contents.negatives.items() if product is None][-MOST_REJECTED:]
    if rejected:
        shift = catalogue_shift(gallery, bundle, own_frames=own_frames)
        labels, snapshots = gallery.product_snapshots(shift)
        pictures = np.asarray(gallery.snapshots.vectors(rejected, gallery.model), np.float32)
        rows = judge_strangers(
            labels,
            snapshots,
            prior_of(bundle),
            cohort_of(bundle, gallery if own_frames else None),
            pictures,
            same_picture=same_picture_of(bundle),
        )
        own += [judged(one, i, None) for one, i in zip(rows, rejected, strict=True)]
    return Appraisal(check, identifiers, tuple(own), contents.version)
