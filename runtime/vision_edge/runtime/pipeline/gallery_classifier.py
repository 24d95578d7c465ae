"""The products of a gallery as they are now, for a run that others register during."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.catalogue import is_catalogue
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.bundle_calibration import centre_factor
from vision_edge.runtime.recognition.domains import shift_between
from vision_edge.runtime.recognition.gallery_check import GalleryCheck, check_gallery
from vision_edge.runtime.recognition.patch_ranking import PatchRanking
from vision_edge.runtime.recognition.prototypes import (
    NOTHING_KNOWN,
    SAME_PICTURE,
    Decision,
    Negatives,
    PrototypeClassifier,
)
from vision_edge.runtime.recognition.strangers import Cohort


class CurrentClassifier:
    """Classifies by what a gallery's file says, whoever changes it meanwhile.

    The file is asked for its version at most every `every` seconds, and read again only if that
    is new. While it cannot be read, what was known before stays.

    Args:
        path: The gallery's file.
        session: What embeds for it.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead.
        own_frames: Whether what the station's camera saw, as it is kept in the gallery, has a say.
        seen: Called with the embeddings of every decision, as `FrameCollector.offer` takes them.
        every: Seconds between two looks; 0 looks at every call.
        changed: Called after a change with the new version and the number of products.
        problem: Called with what is wrong, once, when the gallery cannot be read any more.

    Raises:
        VisionEdgeError: If the gallery cannot be opened, or holds no product to begin with.
    """

    def __init__(
        self,
        path: Path,
        session: Session,
        *,
        false_accept_rate: float = 0.05,
        threshold: float | None = None,
        own_frames: bool = True,
        seen: Callable[[Embeddings], None] | None = None,
        every: float = 1.0,
        changed: Callable[[int, int], None] | None = None,
        problem: Callable[[GalleryError], None] | None = None,
    ) -> None:
        self._path, self._session, self._every = path, session, every
        self._rate, self._threshold = false_accept_rate, threshold
        self._own_frames, self.seen = own_frames, seen
        self._changed, self._problem = changed, problem
        self._in_trouble = False
        with GalleryReader(path, session.bundle.manifest.identity) as gallery, gallery.reading():
            self.version, self._stamp = gallery.version, gallery.stamp
            self._frames = self._frames_of(gallery)
            self.now: PrototypeClassifier | None = self._made_from(gallery)
        self._looked = time.monotonic()

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; all is unknown while there are no products."""
        if time.monotonic() - self._looked >= self._every:
            self._look()
        if self.seen is not None:
            self.seen(embeddings)
        if self.now is None:
            return [NOTHING_KNOWN] * (1 if embeddings.ndim == 1 else len(embeddings))
        return self.now.classify(embeddings, patches)

    def _look(self) -> None:
        """Take in the gallery's state, if it is new."""
        try:
            self._take()
            self._in_trouble = False
        except GalleryError as error:
            if not self._in_trouble and self._problem is not None:
                self._problem(error)
            self._in_trouble = True
        self._looked = time.monotonic()

    def _take(self) -> None:
        with GalleryReader(self._path, self._session.bundle.manifest.identity) as gallery:
            if (gallery.stamp, self._frames_of(gallery)) == (self._stamp, self._frames):
                return
            with gallery.reading():
                stamp, frames = gallery.stamp, self._frames_of(gallery)
                version, count = gallery.version, len(gallery.contents().products)
                self.now = self._made_from(gallery) if count else None
        changed = stamp != self._stamp
        self.version, self._stamp, self._frames = version, stamp, frames
        if changed and self._changed is not None:
            self._changed(version, count)

    def _frames_of(self, gallery: GalleryReader) -> str:
        """Return what tells one sample of the station's frames from another."""
        return gallery.frames.stamp(gallery.model) if self._own_frames else ""

    def _made_from(self, gallery: GalleryReader) -> PrototypeClassifier:
        return classifier_for(
            gallery,
            self._session,
            false_accept_rate=self._rate,
            threshold=self._threshold,
            own_frames=self._own_frames,
        )


def classifier_for(
    gallery: GalleryReader,
    session: Session,
    *,
    false_accept_rate: float = 0.05,
    threshold: float | None = None,
    own_frames: bool = True,
) -> PrototypeClassifier:
    """Return a classifier over a gallery's products, with the bundle's centre and cohort.

    Args:
        gallery: The products.
        session: What embeds for it.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead.
        own_frames: Whether what the station's camera saw, as it is kept in the gallery, has a say.
    """
    shift = catalogue_shift(gallery, session.bundle, own_frames=own_frames)
    labels, snapshots = gallery.product_snapshots(shift)
    return PrototypeClassifier(
        labels,
        snapshots,
        prior_of(session.bundle),
        cohort_of(session.bundle, gallery if own_frames else None),
        same_picture=same_picture_of(session.bundle),
        false_accept_rate=false_accept_rate,
        threshold=threshold,
        negatives=negatives_of(gallery),
        ranking=ranking_of(gallery, session.bundle),
        cohort_alone=_mostly_from_catalogue(gallery),
    )


def _mostly_from_catalogue(gallery: GalleryReader) -> bool:
    """Whether more than half of the products have catalogue pictures only."""
    catalogue, products = gallery.snapshots.catalogue(), gallery.contents().products.values()
    return 2 * sum(catalogue.issuperset(ids) for ids in products) > len(products)


def ranking_of(gallery: GalleryReader, bundle: Bundle) -> PatchRanking | None:
    """Return what ranks the nearest products anew by their patches; None if the bundle has none."""
    info = bundle.manifest.patches
    if info is None:
        return None
    products = gallery.contents().products.values()
    kept = gallery.snapshots.all_patches(gallery.model, info.count)
    return PatchRanking([[kept[i] for i in ids if i in kept] for ids in products], info.weight)


def catalogue_shift(
    gallery: GalleryReader,
    bundle: Bundle,
    more: Embeddings | None = None,
    *,
    own_frames: bool = True,
) -> Embeddings | None:
    """Return what carries embeddings of catalogue pictures to the station's own: float32 (D,).

    Where the station's own pictures lie is told by the products that were registered by them, by
    what its camera saw and, if the bundle's cohort is the station's own, by that.

    Args:
        gallery: The products.
        bundle: Whose embeddings they are.
        more: float32 (M, D), embeddings of catalogue pictures of products not registered yet.
        own_frames: Whether what the camera saw has a say.

    Returns:
        None where there are no catalogue pictures.
    """
    if more is None and not gallery.snapshots.catalogue():
        return None  # without reading every embedding
    known = gallery.product_means(catalogue=True)
    known = known if more is None else np.concatenate([known, more])
    if not len(known):
        return None
    own = bundle.cohort if bundle.manifest.scoring.cohort_from_station else bundle.cohort[:0]
    seen = gallery.frames.kept(gallery.model).embeddings if own_frames else own[:0]
    real = gallery.product_means(catalogue=False)
    return shift_between(known, np.concatenate([real, own, seen]))


def as_compared(
    gallery: GalleryReader, bundle: Bundle, snapshots: Sequence[Snapshot]
) -> list[Snapshot]:
    """Return snapshots to be registered as the gallery's classifier would see them.

    Catalogue pictures are carried to the station's own, as those that are registered are.
    """
    catalogue = [is_catalogue(snapshot.jpeg) for snapshot in snapshots]
    more = [s.embedding for s, own in zip(snapshots, catalogue, strict=True) if own]
    if not more:
        return list(snapshots)
    mean = np.stack(more).mean(axis=0, dtype=np.float32, keepdims=True)  # of one product
    shift = catalogue_shift(gallery, bundle, mean)
    assert shift is not None
    return [
        replace(snapshot, embedding=snapshot.embedding + shift) if moved else snapshot
        for snapshot, moved in zip(snapshots, catalogue, strict=True)
    ]


def checked_gallery(
    gallery: GalleryReader, bundle: Bundle, *, false_accept_rate: float = 0.05
) -> GalleryCheck:
    """Return what a gallery's own snapshots say of it, each left out once.

    Raises:
        VisionEdgeError: If the gallery holds no product, or the rate is none.
    """
    labels, snapshots = gallery.product_snapshots(catalogue_shift(gallery, bundle))
    return check_gallery(
        labels,
        snapshots,
        prior_of(bundle),
        cohort_of(bundle, gallery),
        false_accept_rate=false_accept_rate,
        same_picture=same_picture_of(bundle),
    )


def prior_of(bundle: Bundle) -> Embeddings:
    """Return the point that a few products are compared from: float32 (D,).

    Export chose which share of the cohort's mean it is; of an older bundle, which does not say,
    the cohort tells it.
    """
    chosen = bundle.manifest.scoring.centre_factor
    factor = centre_factor(bundle.cohort) if chosen is None else chosen
    prior: Embeddings = (factor * bundle.centre).astype(np.float32)
    return prior


def same_picture_of(bundle: Bundle) -> float:
    """Return from which likeness to a snapshot on a frame is that very picture."""
    measured = bundle.manifest.scoring.same_picture
    return SAME_PICTURE if measured is None else measured


def cohort_of(bundle: Bundle, gallery: GalleryReader | None = None) -> Cohort:
    """Return a bundle's impostors: the station's own, other photographs, or generated scenes.

    Args:
        bundle: The bundle.
        gallery: Where what the station's camera saw is kept, if that is to have a say.
    """
    scoring = bundle.manifest.scoring
    own = scoring.cohort_from_station
    return Cohort(
        bundle.cohort,
        from_station=own,
        photographs=own or bool(scoring.cohort_photographs),
        seen=None if gallery is None else gallery.frames.kept(gallery.model).embeddings,
    )


def negatives_of(gallery: GalleryReader) -> Negatives | None:
    """Return what an operator said is not a product, or None if there is no such picture."""
    kept = gallery.contents().negatives
    if not kept:
        return None
    vectors = gallery.snapshots.vectors(list(kept), gallery.model)
    return Negatives(vectors, tuple(kept.values()))
