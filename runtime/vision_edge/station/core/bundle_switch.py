"""The bundle of a station: opened at the start, gone over to another, and back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.provenance.names import HELD
from vision_edge.station.core.live_model import Model
from vision_edge.station.core.products import Products, fingerprint_of
from vision_edge.station.core.state_folder import BundleState, StateFolder
from vision_edge.station.core.trusted_bundles import provenance_of
from vision_edge.station.settings.station import StationSettings

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance

log = logging.getLogger(__name__)


class Bundles:
    """Opens bundles as models, and remembers which one is in use, also over a restart.

    Args:
        settings: Of the station.
        folder: Where it is remembered.
        timed: Called with the seconds of each inference.
    """

    def __init__(
        self, settings: StationSettings, folder: StateFolder, timed: Callable[[float], None]
    ) -> None:
        self._settings, self._folder, self._timed = settings, folder, timed
        self._state = folder.bundle(settings.bundle)
        self._switching = threading.Lock()
        self._provenance = provenance_of(settings.provenance, folder.path)

    def open(self) -> Model:
        """Open the bundle that the gallery belongs to: the one switched to last, or before.

        What was taken before is opened whatever its key's age: no plant stops at an expiry.

        Raises:
            VisionEdgeError: If there is none that can be loaded, or none that is signed by whom
                is trusted, where a signature is required.
        """
        state = self._state
        paths = dict.fromkeys(filter(None, (state.current, state.former, state.configured)))
        wanted = fingerprint_of(self._settings.gallery)
        for path in paths if wanted is not None else ():
            bundle = self._attempt(path)
            if bundle is not None and bundle.manifest.identity.fingerprint == wanted:
                former = state.former if path == state.current else state.current
                self._state = replace(state, current=path, former=former)
                return self._taken(bundle)
        return self._taken(load_bundle(self._settings.bundle, self._holding(HELD)))

    def switch(
        self,
        products: Products,
        bundle: Path | str,
        author: str,
        *,
        held: int = 0,
        allow_older: bool = False,
    ) -> None:
        """Go over to another bundle, with the gallery embedded anew.

        Args:
            products: The gallery.
            bundle: The bundle's folder.
            author: Who does it.
            held: How many of the last that were taken may be returned to.
            allow_older: Take one that is older than what was taken here.

        Raises:
            VisionEdgeError: If the bundle is not fit; the former goes on.
        """
        with self._switching:
            path = Path(bundle).absolute()
            loaded = load_bundle(path, self._holding(held, allow_older=allow_older))
            model = self._model(loaded)
            before = self._state
            self._keep(replace(before, current=str(path), former=before.current))
            try:
                products.switch(model, author)
            except BaseException:
                self._keep(before)
                raise
            self._remember(loaded)

    def undo(self, products: Products, author: str) -> None:
        """Return to the bundle before the last switch.

        Raises:
            VisionEdgeError: If there is none, or it is not fit any more.
        """
        former = self._state.former
        if former is None:
            raise VisionEdgeError("there is no former bundle", fix="switch to one by its path")
        self.switch(products, former, author, held=HELD)

    def _holding(self, held: int, *, allow_older: bool = False) -> Provenance | None:
        if self._provenance is None:
            return None
        return replace(
            self._provenance, held=held, allow_older=allow_older or self._provenance.allow_older
        )

    def _attempt(self, path: str) -> Bundle | None:
        try:
            return load_bundle(path, self._holding(HELD))
        except VisionEdgeError as error:
            log.warning("%s", error.what)
            return None

    def _taken(self, bundle: Bundle) -> Model:
        model = self._model(bundle)
        self._remember(bundle)
        return model

    def _remember(self, bundle: Bundle) -> None:
        if self._provenance is not None and bundle.signed is not None:
            self._provenance.take(bundle.signed)
            said, key = bundle.signed.artifact, bundle.signed.key
            log.info("bundle %r, version %d, signed by %s", said.name, said.version, key.title)

    def _model(self, bundle: Bundle) -> Model:
        session = open_session(bundle, self._settings.provider, options=self._settings.session)
        return Model(session, self._timed)

    def _keep(self, state: BundleState) -> None:
        self._folder.keep_bundle(state)
        self._state = state
