"""The registrar: pictures into the gallery, with the same checks as `vision-edge register`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.quality import Finding
from vision_edge.runtime.pipeline.gallery_classifier import as_compared
from vision_edge.runtime.pipeline.registration import Picture, resemblance, snapshot_from
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.station.core.errors import LastPictureError, WarningsError
from vision_edge.station.core.memory import Memory
from vision_edge.station.core.products import Products
from vision_edge.station.core.verdict_history import NO_PRODUCT


class Pictures(Protocol):
    """Where pictures are that a person decides on."""

    def pictures(self, identifiers: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Return source and JPEG of each."""


@dataclass
class Concerns:
    """What speaks against registering pictures.

    Attributes:
        problems: JSON values: `code`, `message`, `fix`.
        similar: Products that a picture looks like, the most alike first: `label`, `score`.
    """

    problems: list[dict[str, str]] = field(default_factory=list)
    similar: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.problems or self.similar)

    def add(self, finding: Finding) -> None:
        """Add what a check found, once."""
        problem = {"code": finding.kind, "message": finding.message, "fix": finding.fix}
        if problem not in self.problems:
            self.problems.append(problem)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"problems": self.problems, "similar": self.similar}


@dataclass(frozen=True)
class Registered:
    """What was registered: the product, the gallery's new version, the snapshots' identifiers."""

    label: str
    version: int
    snapshots: list[int]


class Registrar:
    """Registers pictures; each either whole or not at all.

    Args:
        products: The gallery.
        memory: Where pictures wait for a decision, and verdicts are kept.
    """

    def __init__(self, products: Products, memory: Memory) -> None:
        self._products, self._memory = products, memory

    def check(self, picture: Picture, label: str | None) -> Concerns:
        """Return what speaks against a picture, as `label` or, with None, as any product."""
        with self._products.steady() as model:
            snapshot = snapshot_from(picture, model)
            with self._products.opened() as gallery:
                compared = as_compared(gallery, model.session.bundle, [snapshot])
            return _concerns([picture], compared, label, model.classifier)

    def register(
        self, label: str, pictures: Sequence[Picture], author: str, *, accept_warnings: bool
    ) -> Registered:
        """Register pictures as a product.

        Raises:
            WarningsError: With what speaks against it, unless that is accepted.
            GalleryError: If the gallery refuses.
        """
        with self._products.steady() as model:
            snapshots = [snapshot_from(picture, model) for picture in pictures]
            if not accept_warnings:
                with self._products.opened() as gallery:
                    compared = as_compared(gallery, model.session.bundle, snapshots)
                _refuse(_concerns(pictures, compared, label, model.classifier))
            with self._products.changing(author) as gallery:
                return _added(gallery, label, snapshots)

    def assign(
        self,
        identifiers: Sequence[str],
        label: str,
        author: str,
        *,
        among: Pictures | None = None,
        accept_removal: bool = False,
    ) -> Registered:
        """Register pictures as a product, whatever speaks against it.

        Args:
            identifiers: Of pictures under review, or of verdicts.
            label: The product.
            author: Who says so.
            among: Where the pictures are: the review queue by default, or the history.
            accept_removal: Whether products that hold no other picture may go.

        Raises:
            LastPictureError: If a product would go, unless that is accepted.
            VisionEdgeError: If one of them is not there (any more), or the gallery refuses.
        """
        with self._products.steady():
            snapshots = self._snapshots(identifiers, among)
            with self._products.changing(author) as gallery:
                held = set(gallery.state().get(label, ()))
                new = [s for s in snapshots if _held(gallery, s) not in held]
                _taken_out(gallery, new, accept_removal=accept_removal)
                added = (
                    _added(gallery, label, new) if new else Registered(label, gallery.version, [])
                )
            self._memory.decided(identifiers, label, author, added.version)
        return added

    def reject(
        self,
        identifiers: Sequence[str],
        author: str,
        *,
        among: Pictures | None = None,
        accept_removal: bool = False,
    ) -> int:
        """Keep pictures as what is no product; return the gallery's new version.

        Args:
            identifiers: Of pictures under review, or of verdicts.
            author: Who says so.
            among: Where the pictures are: the review queue by default, or the history.
            accept_removal: Whether products that hold no other picture may go.

        Raises:
            LastPictureError: If a product would go, unless that is accepted.
            VisionEdgeError: If one of them is not there (any more), or the gallery refuses.
        """
        with self._products.steady():
            snapshots = self._snapshots(identifiers, among)
            with self._products.changing(author) as gallery:
                held = gallery.contents().negatives
                new = [s for s in snapshots if _held(gallery, s) not in held]
                _taken_out(gallery, new, accept_removal=accept_removal)
                version = gallery.add_negatives(None, new) if new else gallery.version
            self._memory.decided(identifiers, NO_PRODUCT, author, version)
        return version

    def _snapshots(self, identifiers: Sequence[str], among: Pictures | None) -> list[Snapshot]:
        """Embed pictures; what several of them show to the last bit counts once."""
        with self._products.steady() as model:
            pictures = (among or self._memory.review).pictures(identifiers)
            distinct = {jpeg: (i, source) for i, (source, jpeg) in pictures.items()}
            return [
                snapshot_from(
                    Picture(decode_image(jpeg, f"review {i}"), jpeg, f"review of {source}", ()),
                    model,
                )
                for jpeg, (i, source) in distinct.items()
            ]


def _held(gallery: Gallery, snapshot: Snapshot) -> int | None:
    """Return the identifier of a picture that the gallery held before, if it did."""
    return gallery.snapshots.find(hashlib.sha256(snapshot.jpeg).hexdigest())


def _taken_out(gallery: Gallery, snapshots: Sequence[Snapshot], *, accept_removal: bool) -> None:
    """Take pictures out of where they are: what a person says now is what they show."""
    taken = {_held(gallery, snapshot) for snapshot in snapshots}
    gone = sorted(label for label, ids in gallery.state().items() if taken.issuperset(ids))
    if gone and not accept_removal:
        named = ", ".join(repr(label) for label in gone)
        raise LastPictureError(
            f"nothing was changed: it is the only picture of {named}, which would be gone",
            fix=f"register another picture of {named} first; or rename or remove the product",
            more={"removes": gone},
        )
    for identifier in taken:
        if identifier is not None and identifier in gallery.contents().places():
            gallery.drop(identifier)


def _added(gallery: Gallery, label: str, snapshots: Sequence[Snapshot]) -> Registered:
    version = gallery.add(label, snapshots)
    return Registered(label, version, gallery.state()[label][-len(snapshots) :])


def _concerns(
    pictures: Sequence[Picture],
    snapshots: Sequence[Snapshot],
    label: str | None,
    classifier: PrototypeClassifier | None,
) -> Concerns:
    concerns = Concerns()
    for picture, snapshot in zip(pictures, snapshots, strict=True):
        for finding in picture.findings:
            concerns.add(finding)
        if classifier is None:
            continue
        for finding in resemblance(snapshot, label or "", classifier):
            if finding.kind != "similar":
                concerns.add(finding)
        (decision,) = classifier.classify(snapshot.embedding)
        if decision.known and decision.label != label:
            concerns.similar.append({"label": decision.label, "score": round(decision.score, 4)})
    concerns.similar.sort(key=lambda similar: -float(similar["score"]))
    return concerns


def _refuse(concerns: Concerns) -> None:
    if not concerns:
        return
    said = [problem["message"] for problem in concerns.problems]
    said += [f"looks like {similar['label']}" for similar in concerns.similar]
    raise WarningsError(
        f"nothing was registered: {'; '.join(said)}"[:500],
        fix="take a better picture, or accept the warnings",
        more=concerns.document(),
    )
