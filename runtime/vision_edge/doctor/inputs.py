"""A bundle and a gallery: whether they are whole, belong together, and run here."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import run_python
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.database import reading_connection
from vision_edge.runtime.gallery.reader import GalleryReader

_RUN = """
import time
import numpy
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.session import open_session
try:
    session = open_session(load_bundle(sys.argv[1]), sys.argv[2])
    side = session.spec.size
    images = numpy.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=numpy.uint8)
    session.embed(images)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        session.embed(images[:1])
        times.append(1000 * (time.perf_counter() - started))
    tell(provider=session.provider, notes=session.notes, milliseconds=min(times))
except VisionEdgeError as error:
    tell(what=error.what, fix=error.fix)
"""
RUN_SECONDS = 300.0
"""Seconds that opening a session may take: TensorRT builds its engine the first time."""


def check_bundle(path: Path, provider: str = "auto") -> tuple[list[Finding], Bundle | None]:
    """Verify a bundle and run it on one picture, in a process of its own.

    Returns:
        The findings, and the bundle if it is whole.
    """
    try:
        bundle = load_bundle(path)
    except VisionEdgeError as error:
        return [Finding("bundle", "files", error.what, "error", error.fix)], None
    manifest = bundle.manifest
    facts = {
        "fingerprint": manifest.fingerprint,
        "precision": manifest.precision,
        "bytes": len(bundle.model),
        "embedding_dim": manifest.embedding_dim,
    }
    text = (
        f"{path}: {manifest.name}, verified, {manifest.precision}, "
        f"{len(bundle.model) / 1e6:.1f} MB, fingerprint {manifest.fingerprint[:12]}"
    )
    return [Finding("bundle", "files", text, facts=facts), _run(path, provider)], bundle


def _run(path: Path, provider: str) -> Finding:
    answer = run_python(_RUN, RUN_SECONDS, str(path), provider)
    facts = answer.facts
    if answer.state != "ok":
        fix = "try --provider cpu; if that works, reinstall what the other provider needs"
        return Finding("bundle", "runs", f"{answer.state}: {answer.reason}", "error", fix)
    if "what" in facts:
        return Finding("bundle", "runs", facts["what"], "error", facts["fix"])
    text = f"on {facts['provider']}, {facts['milliseconds']:.1f} ms an image (best of 5)"
    if facts["notes"]:
        told = "; ".join(facts["notes"])
        fix = "name the provider that you want with --provider, and see above what it lacks"
        return Finding("bundle", "runs", f"{text}; {told}", "warning", fix, facts)
    return Finding("bundle", "runs", text, facts=facts)


def check_gallery(path: Path, bundle: Bundle | None) -> list[Finding]:
    """Verify a gallery's file, and that it belongs to the bundle, if one is given."""
    try:
        damage = _damage(path)
        if damage is not None:
            fix = "restore a copy: vision-edge gallery import ARCHIVE.zip --gallery NEW"
            return [Finding("gallery", "file", f"{path}: damaged: {damage}", "error", fix)]
        with GalleryReader(path, bundle.manifest.identity if bundle else None) as gallery:
            labels, _ = gallery.prototypes()
            kinds = Counter(event.kind for event in gallery.events())
            text = f"{path}: {len(labels)} product(s), version {gallery.version}, intact"
            facts = {"products": labels, "version": gallery.version, "events": dict(kinds)}
    except VisionEdgeError as error:
        return [Finding("gallery", "file", error.what, "error", error.fix)]
    if not labels:
        fix = f"vision-edge register BUNDLE LABEL IMAGE --gallery {path}"
        return [Finding("gallery", "file", text, "warning", fix, facts)]
    return [Finding("gallery", "file", text, facts=facts)]


def _damage(path: Path) -> str | None:
    """Return what SQLite finds wrong with the file, or None; an absent file is not its matter."""
    if not path.is_file():
        return None
    try:
        connection = reading_connection(path)
        try:
            (first,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if first == "ok" else str(first)
