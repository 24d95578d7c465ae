"""Codes, expectations, corrections and listeners follow the gallery, whoever changed it."""

from __future__ import annotations

import logging

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.pipeline.gallery_classifier import renamed_to
from vision_edge.station.core.event_hub import Hub
from vision_edge.station.core.expectations import Expectations
from vision_edge.station.core.memory import Memory
from vision_edge.station.core.product_codes import ProductCodes, Rename
from vision_edge.station.core.products import Products

log = logging.getLogger(__name__)


class GalleryFollower:
    """Brings up to date what depends on the gallery.

    Args:
        products: The gallery.
        expectations: Which product each source should show.
        codes: Of products, for controllers; None where no wire asks for them.
        hub: Where a change is told.

    Attributes:
        memory: What is remembered of verdicts, from when there is one.
    """

    def __init__(
        self, products: Products, expectations: Expectations, codes: ProductCodes | None, hub: Hub
    ) -> None:
        self._products, self._expectations, self._codes = products, expectations, codes
        self._hub = hub
        self._followed = 0  # the version up to which corrections follow it
        self.memory: Memory | None = None

    def begin(self, memory: Memory) -> None:
        """Follow what changed while the station was off, and have a memory follow from now on."""
        self.memory = memory
        self._give_codes()
        self.remember(memory)

    def changed(self, version: int, products: int) -> None:
        """Follow a change, and tell of it."""
        self._give_codes()
        classifier = self._products.model.classifier
        self._expectations.registered(
            classifier.labels if classifier is not None else (), self._renamed
        )
        if self.memory is not None:
            self.remember(self.memory)
        self._hub.publish("gallery", {"version": version, "products": products})

    def remember(self, memory: Memory) -> None:
        """Let what is remembered follow the gallery, whoever changed it."""
        memory.review.judge_again(self._products.steady)
        try:
            with self._products.opened() as gallery:
                events = gallery.events(self._followed)
            for event in events:
                if event.kind == "rollback":
                    memory.returned(int(event.argument or 0), event.version)
                self._followed = event.version
        except VisionEdgeError as error:
            log.warning("corrections follow the gallery at its next change: %s", error.what)

    def _give_codes(self) -> None:
        """Have every registered product have a code, where a controller asks for codes."""
        if self._codes is None:
            return
        with self._products.opened() as gallery:
            renames = [
                Rename(event.label, event.argument)
                for event in gallery.events()
                if event.kind == "rename" and event.label and event.argument
            ]
            self._codes.follow(list(gallery.state()), renames)

    def _renamed(self, label: str) -> str:
        """Say in words what a product is called now that is gone."""
        with self._products.opened() as gallery:
            return renamed_to(gallery, label)
