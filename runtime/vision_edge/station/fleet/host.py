"""How the fleet reaches its station: nothing else in this folder knows the station's inside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot
from vision_edge.station.core.station import Station
from vision_edge.station.core.trusted_bundles import provenance_of
from vision_edge.station.fleet.bundles.shadow_trial import Material, Scoring
from vision_edge.station.fleet.bundles.update import BundleUpdate, registered
from vision_edge.station.fleet.shared_gallery.sync import Access
from vision_edge.station.fleet.shared_gallery.wire import GallerySync, gentle
from vision_edge.station.settings.fleet import FleetSettings

REVIEWED = 200
"""Pictures under review that a new bundle is tried on at most."""


class StationHost:
    """A station, as its fleet sees it.

    Args:
        station: The station; started before anything is asked of it.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    @property
    def session(self) -> Session:
        """The session in use."""
        return self._station.session

    def switch(
        self, bundle: Path | str, author: str | None = None, *, allow_older: bool = False
    ) -> None:
        """Go over to another bundle."""
        self._station.switch(bundle, author, allow_older=allow_older)

    def undo_switch(self, author: str | None = None) -> None:
        """Return to the bundle before."""
        self._station.undo_switch(author)

    def in_use(self) -> set[Path]:
        """Return the bundles that must stay: the present, the former and the settings'."""
        state = self._station.state
        assert state is not None
        bundle = state.bundle(self._station.settings.bundle)
        paths = filter(None, (bundle.configured, bundle.current, bundle.former))
        return {Path(path).resolve() for path in paths}

    def pictures(self) -> Material:
        """Return what is registered, and under review, now."""
        frames = []
        for item in self._station.review.items(REVIEWED):
            with suppress(VisionEdgeError):  # a person has just decided on it
                jpeg = self._station.review.jpeg(str(item["id"]))
                frames.append(decode_image(jpeg, "a picture under review"))
        with self._station.products.opened() as gallery:
            return registered(gallery, frames)

    def views(self) -> Mapping[str, tuple[int, Image]]:
        """Return the sources' latest frames with their numbers."""
        latest = {line.name: line.latest for line in self._station.lines}
        return {
            name: (frame.number, frame.image) for name, frame in latest.items() if frame is not None
        }

    # What the line needs

    def access(self) -> Access:
        """Return how the line reaches the gallery and the model."""
        return Access(self._gallery, gentle(self._embed), self._changed, time.time)

    def _gallery(self) -> AbstractContextManager[Gallery]:
        return self._station.products.opened()

    def _embed(self, jpeg: bytes, origin: str) -> Snapshot:
        return kept_snapshot(self._station.products.model, jpeg, origin)

    def _changed(self) -> None:
        self._station.gallery_changed()


def line_wire(station: Station) -> GallerySync | None:
    """Return the wire that shares the gallery with the line; None if the settings ask for none.

    Raises:
        VisionEdgeError: If they ask for it, and name no broker.
    """
    fleet, mqtt = station.settings.fleet, station.settings.mqtt
    if fleet is None or not fleet.share_gallery:
        return None
    if mqtt is None:
        raise VisionEdgeError(
            "[fleet] share_gallery goes through an MQTT broker, and there is no [mqtt]",
            fix="add [mqtt] with the broker's host, or set share_gallery = false",
        )
    access, provenance = StationHost(station).access(), station.settings.provenance
    return GallerySync(station.name, fleet, mqtt, access, provenance)


def updates_of(station: Station) -> BundleUpdate:
    """Return the updates of a station."""
    settings = station.settings

    def scoring() -> Scoring:
        now = station.scoring.asked.settings
        return Scoring(now.false_accept_rate, now.threshold)

    return BundleUpdate(
        StationHost(station),
        settings.fleet or FleetSettings(),
        settings.state_dir,
        scoring,
        settings.provider,
        settings.threads,
        provenance_of(settings.provenance, settings.state_dir),
    )
