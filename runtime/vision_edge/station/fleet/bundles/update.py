"""A station takes a new bundle: fetched, tried in shadow beside the present one, then switched to.

One at a time, in a thread of its own; the present bundle goes on until the switch, and can be
returned to after it. The new one is examined and tried in another process, with limits: in this one
it is opened when it is taken.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.core.discretion import without_folders
from vision_edge.station.fleet.bundles.examination import Examination
from vision_edge.station.fleet.bundles.fetch import fetch_bundle
from vision_edge.station.fleet.bundles.shadow_trial import Material, Scoring, compare
from vision_edge.station.fleet.bundles.trial_report import Report
from vision_edge.station.settings.fleet import FleetSettings

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance

_LOG = logging.getLogger(__name__)
FRAME_PAUSE_S, FRAME_LIMIT_S = 0.25, 20.0
"""Between two looks at the sources for frames to try a bundle on, and how long that may take."""

State = Literal[
    "idle", "fetching", "trying", "switching", "switched", "accepted", "refused", "failed"
]
_UNDER_WAY = re.compile(r"(?:bundles/)?\.\.new-\w+\.tmp")
"""What a bundle's folder is called while it is brought: nobody knows it by that name."""
RUNNING: tuple[State, ...] = ("fetching", "trying", "switching")


class UpdateBusyError(VisionEdgeError):
    """An update is under way."""


class Host(Protocol):
    """What an update needs of its station."""

    @property
    def session(self) -> Session:
        """The session in use."""

    def switch(
        self, bundle: Path | str, author: str | None = None, *, allow_older: bool = False
    ) -> None:
        """Go over to another bundle."""

    def undo_switch(self, author: str | None = None) -> None:
        """Return to the bundle before."""

    def in_use(self) -> set[Path]:
        """Return the bundles that must stay."""

    def pictures(self) -> Material:
        """Return what is registered, and under review, now."""

    def views(self) -> Mapping[str, tuple[int, Image]]:
        """Return the sources' latest frames with their numbers."""


class BundleUpdate:
    """The updates of one station.

    Args:
        host: The station.
        settings: The section `[fleet]`.
        state_dir: The station's state folder: bundles and the last report lie in it.
        scoring: Returns when a product is recognised at the moment.
        provider: What a new bundle is tried on: the station's own execution provider.
        threads: CPU threads of an inference.
        provenance: Whose signature a new bundle must bear; None asks for none.
    """

    def __init__(
        self,
        host: Host,
        settings: FleetSettings,
        state_dir: Path,
        scoring: Callable[[], Scoring],
        provider: str = "auto",
        threads: int | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self._host, self._settings, self._scoring = host, settings, scoring
        self._provider, self._threads, self._provenance = provider, threads, provenance
        self._store = state_dir / "bundles"
        self._report_file = state_dir / "bundle-report.json"
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "idle"
        self._reference, self._error = "", ""
        self._report: Report | None = None
        self._clear()

    def start(
        self,
        reference: str,
        *,
        sha256: str | None = None,
        dry_run: bool = False,
        author: str | None = None,
        allow_older: bool = False,
    ) -> None:
        """Begin an update; `document` tells how it goes.

        Args:
            reference: As `fetch_bundle` takes it.
            sha256: Of the archive.
            dry_run: Stop after the trial.
            author: Who asks for it.
            allow_older: Take a signed bundle that is older than what was taken here.

        Raises:
            BundleError: If the settings do not say where bundles come from.
            UpdateBusyError: If one is under way.
        """
        if self._settings.bundle_from is None:
            raise BundleError(
                "this station takes no bundles",
                fix="set bundle_from in [fleet]: a folder, or an https address",
            )
        with self._lock:
            if self._state in RUNNING:
                raise UpdateBusyError(
                    f"an update is under way ({self._state})", fix="wait for its end"
                )
            self._state, self._reference, self._error, self._report = (
                "fetching",
                reference,
                "",
                None,
            )
        arguments = (reference, sha256, dry_run, author, allow_older)
        self._thread = threading.Thread(
            target=self._run, args=arguments, name="bundle update", daemon=True
        )
        self._thread.start()

    def undo(self, author: str | None = None) -> None:
        """Return to the bundle before the last switch.

        Raises:
            VisionEdgeError: If there is none, or an update is under way.
        """
        if self._state in RUNNING:
            raise UpdateBusyError("an update is under way", fix="wait for its end")
        self._host.undo_switch(author)
        self._state = "idle"

    def document(self) -> dict[str, Any]:
        """Return how the last update goes, as JSON values."""
        report = self._report
        return {
            "state": self._state,
            "reference": self._reference,
            "error": self._error or None,
            "report": None if report is None else report.document(),
            "text": None if report is None else report.text(),
        }

    def close(self, timeout: float = 2.0) -> None:
        """Let an update that is under way end at its next step."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(
        self,
        reference: str,
        sha256: str | None,
        dry_run: bool,
        author: str | None,
        allow_older: bool,
    ) -> None:
        provenance = self._provenance
        if provenance is not None and allow_older:
            provenance = replace(provenance, allow_older=True)
        try:
            with Examination(self._settings, provenance) as examination:
                path = fetch_bundle(reference, self._settings, self._store, examination, sha256)
                self._state = "trying"
                report = self._try(path, examination)
            self._keep(report)
            outcome: State = "accepted" if report.accepted else "refused"
            if report.accepted and not dry_run:
                self._state = "switching"
                self._host.switch(path, author, allow_older=allow_older)
                outcome = "switched"
            self._prune({path.resolve()} if report.accepted else set())
            self._end(outcome, report)
        except VisionEdgeError as error:
            _LOG.warning("update: %s", error.what)
            self._fail(f"{error.what}; {error.fix}" if error.fix else error.what)
        except Exception as error:
            _LOG.exception("an update failed; the present bundle goes on")
            self._fail(f"an unforeseen error ({type(error).__name__}); see the log")

    def _try(self, path: Path, examination: Examination) -> Report:
        new = examination.opened(path, self._provider, self._threads)
        limits, pictures = self._settings.shadow, self._host.pictures()
        frames = [*pictures.frames, *self._live_frames(limits.live_frames)]
        material = bounded(
            Material(pictures.snapshots, pictures.negatives, frames, pictures.pages),
            limits.max_pictures,
        )
        return compare(self._host.session, new, material, limits, self._scoring(), rest=self._rest)

    def _rest(self, seconds: float) -> None:
        """Leave the station as much time as the trial took: verdicts come first."""
        if self._stop.wait(min(1.0, seconds)):
            raise BundleError("the station was stopped during the trial", fix="begin it again")

    def _live_frames(self, count: int) -> Iterator[Image]:
        """Yield frames of the sources as they come, each once."""
        seen: dict[str, int] = {}
        until, left = time.monotonic() + FRAME_LIMIT_S, count
        while left > 0 and time.monotonic() < until and not self._stop.is_set():
            fresh = False
            for source, (number, image) in self._host.views().items():
                if left > 0 and seen.get(source) != number:
                    seen[source], left, fresh = number, left - 1, True
                    yield image
            if not fresh and not seen:
                return
            self._stop.wait(FRAME_PAUSE_S)

    def _keep(self, report: Report) -> None:
        with atomic_file(self._report_file) as temporary:
            text = json.dumps(report.document(), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _prune(self, wanted: set[Path]) -> None:
        """Forget bundles in the store that are neither in use nor `wanted`."""
        kept = self._host.in_use() | wanted
        for folder in self._store.glob("bundle-*"):
            if folder.resolve() not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _clear(self) -> None:
        """Remove what an update left that was killed; the state folder is this station's alone."""
        left = [*self._store.glob("..new-*"), *self._store.glob(".archive.part")]
        for path in left:
            _LOG.warning("update: %s was left unfinished, and is removed", path.name)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()

    def _fail(self, error: str) -> None:
        trust = "" if self._provenance is None else str(self._provenance.store.path)
        places = (str(self._store.absolute()), self._settings.bundle_from or "", trust)
        told = _UNDER_WAY.sub(lambda _: self._reference, without_folders(error, *places))
        self._state, self._error = "failed", told

    def _end(self, state: State, report: Report) -> None:
        self._report, self._state = report, state
        _LOG.info("update %s\n%s", state, report.text())


def bounded(material: Material, most: int) -> Material:
    """Return at most so many pictures: frames and snapshots in equal parts, evenly chosen."""
    if material.count <= most:
        return material
    negatives = _evenly(list(material.negatives), most // 5)
    left = most - len(negatives)
    frames = _evenly(list(material.frames), max(left // 2, left - len(material.snapshots)))
    snapshots = _evenly(list(material.snapshots), left - len(frames))
    return Material(snapshots, negatives, frames, _evenly(list(material.pages), most))


def registered(gallery: GalleryReader, frames: list[Image]) -> Material:
    """Return a gallery's snapshots and negatives as pictures, beside frames of no known product."""
    contents, image = gallery.contents(), gallery.snapshots.image
    catalogue = gallery.snapshots.catalogue()
    shown = [(label, i) for label, ids in contents.products.items() for i in ids]
    snapshots = [(label, image(i)) for label, i in shown if i not in catalogue]
    pages = [(label, gallery.snapshots.jpeg(i)) for label, i in shown if i in catalogue]
    negatives = [(label, image(i)) for i, label in contents.negatives.items()]
    return Material(snapshots, negatives, frames, pages)


def _evenly(items: list[Any], most: int) -> list[Any]:
    """Return at most so many items, evenly spread over all."""
    if len(items) <= most:
        return items
    return [items[round(at)] for at in np.linspace(0, len(items) - 1, max(most, 0))]
