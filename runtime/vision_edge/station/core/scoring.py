"""Scoring: when a product is recognised, and what the gallery's own pictures say of that."""

from __future__ import annotations

import threading

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.appraisal import Appraisal, appraised
from vision_edge.station.core.asked_rate import Asked, AskedRate
from vision_edge.station.core.products import Products


class Scoring:
    """Sets the asked rate of strangers, and appraises the gallery once for each state of it.

    Args:
        asked: The rate.
        products: The gallery, and what classifies with it.
    """

    def __init__(self, asked: AskedRate, products: Products) -> None:
        self.asked, self._products = asked, products
        self._lock = threading.Lock()
        self._key: tuple[str, str, str] | None = None
        self._kept: Appraisal | None = None

    def set(self, rate: float, by: str) -> None:
        """Let another share of strangers pass for a product, from the next verdict on.

        Raises:
            RateError: If it is none, a fixed score decides, or it cannot be kept.
            GalleryError: If the gallery cannot be read; the former rate goes on.
        """
        with self._products.steady():
            self._take(self.asked.made(rate, by))

    def undo(self, by: str) -> None:
        """Return to the share of strangers before.

        Raises:
            RateError: If nothing was set, or it cannot be kept.
            GalleryError: If the gallery cannot be read; the rate goes on.
        """
        with self._products.steady():
            self._take(self.asked.undone(by))

    def appraisal(self) -> Appraisal:
        """Return what the gallery's pictures say of it; others wait while one computes that.

        Raises:
            GalleryError: If the gallery cannot be read.
            NothingToJudgeError: If it holds no product.
        """
        with self._lock, self._products.opened() as gallery, gallery.reading():
            bundle = self._products.model.session.bundle
            own = self._products.collecting
            frames = gallery.frames.stamp(gallery.model) if own else ""
            key = (gallery.stamp, frames, bundle.manifest.identity.fingerprint)
            if self._kept is None or key != self._key:
                self._kept, self._key = appraised(gallery, bundle, own_frames=own), key
            return self._kept

    def _take(self, now: Asked) -> None:
        former = self.asked.now.rate
        self._products.ask(now.rate)
        try:
            self.asked.keep(now)
        except VisionEdgeError:
            self._products.ask(former)
            raise
