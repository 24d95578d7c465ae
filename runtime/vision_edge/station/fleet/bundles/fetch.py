"""Getting a new bundle into the station's own store: verified whole, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.manifest import MANIFEST_FILE
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.provenance.names import MAX_ENVELOPE, SIGNATURE_FILE, SUFFIX
from vision_edge.runtime.system.files import atomic_folder, copy_regular
from vision_edge.station.fleet.bundles.download import Downloader, file_hash_beside
from vision_edge.station.fleet.bundles.examination import Examination
from vision_edge.station.settings.fleet import FleetSettings

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance


def fetch_bundle(
    reference: str,
    settings: FleetSettings,
    store: Path,
    examination: Examination,
    sha256: str | None = None,
) -> Path:
    """Bring a bundle into the store.

    Args:
        reference: A path in the folder `bundle_from`, or an address under the one it names: a
            bundle's folder, or a zip of one.
        settings: Say where bundles may come from, and how large they may be.
        store: The station's folder of bundles.
        examination: Unpacks and verifies it, in a process of its own.
        sha256: Of the zip; None reads it from the file `ZIP.sha256` beside it.

    Returns:
        The bundle's folder in the store, every byte of it verified.

    Raises:
        BundleError: If it is not where bundles come from, cannot be had, or is unsound. Nothing of
            it is left, but for the part of a download to go on with.
    """
    origin = settings.bundle_from
    if origin is None:
        raise BundleError(
            "this station takes no bundles",
            fix='set bundle_from = "FOLDER or https://…" in [fleet]',
        )
    store.mkdir(parents=True, exist_ok=True)
    if "://" in origin:
        return _from_address(_under(reference, origin), settings, store, sha256, examination)
    path = _inside(reference, Path(origin))
    if path.is_dir():
        return _brought(path, store, examination, "copy")
    return _from_file(path, store, sha256, examination)


def _from_address(
    url: str, settings: FleetSettings, store: Path, sha256: str | None, examination: Examination
) -> Path:
    downloader = Downloader(settings.bundle_ca)
    wanted = (sha256 or downloader.hash_beside(url)).lower()
    part = store / f".{hashlib.sha256((url + wanted).encode()).hexdigest()[:24]}.part"
    for old in set(store.glob(".*.part*")) - {part, part.with_name(part.name + ".etag")}:
        old.unlink(missing_ok=True)
    if examination.provenance is not None:
        signature = downloader.small(url + SUFFIX, MAX_ENVELOPE)
        examination.provenance.enveloped_hash(signature, "bundle", wanted, url)
    downloader.fetch(url, part, wanted, examination.max_bytes)
    try:
        return _brought(part, store, examination, "unpack")
    finally:
        part.unlink(missing_ok=True)


def _from_file(path: Path, store: Path, sha256: str | None, examination: Examination) -> Path:
    """Copy an archive while it is hashed: what is unpacked is that copy, whoever changes it."""
    wanted = (sha256 or file_hash_beside(path)).lower()
    copy = store / ".archive.part"
    copy.unlink(missing_ok=True)
    try:
        if copy_regular(path, copy, examination.max_bytes) != wanted:
            raise BundleError(f"{path}: its SHA-256 is not the one given", fix="copy it again")
        if examination.provenance is not None:
            examination.provenance.hashed(path, "bundle", wanted, exact=False)
        return _brought(copy, store, examination, "unpack")
    except OSError as error:
        too_large = error.errno == errno.EFBIG
        raise BundleError(
            f"{path}: "
            + ("larger than max_bundle_mb allows" if too_large else f"cannot be had ({error})"),
            fix="raise it in [fleet]" if too_large else "check the file and its rights",
        ) from error
    finally:
        copy.unlink(missing_ok=True)


def _brought(
    bundle: Path, store: Path, examination: Examination, how: Literal["unpack", "copy"]
) -> Path:
    with atomic_folder(store / ".new") as folder:
        examination.bring(bundle, folder, how)
    return _settled(store / ".new", store, examination.provenance)


def _settled(new: Path, store: Path, provenance: Provenance | None) -> Path:
    """Name a verified bundle by what it is; one that is there already stays as it is."""
    signature = new / SIGNATURE_FILE
    told = (new / MANIFEST_FILE).read_bytes()
    told += signature.read_bytes() if signature.is_file() else b""
    final = store / f"bundle-{hashlib.sha256(told).hexdigest()[:16]}"
    try:
        if provenance is not None:
            provenance.folder(new)
    except VisionEdgeError:
        shutil.rmtree(new)
        raise
    if final.exists():
        try:
            load_bundle(final, provenance)
        except VisionEdgeError:
            shutil.rmtree(final)
        else:
            shutil.rmtree(new)
            return final
    new.replace(final)
    return final


def _inside(reference: str, folder: Path) -> Path:
    """Return a path that lies in a folder, links and dots resolved."""
    try:
        base = folder.resolve(strict=True)
        path = (base / reference).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"{reference[:200]!r}: there is no such bundle in {folder}", fix="check the name"
        ) from error
    if base not in path.parents:
        raise BundleError(
            f"{reference[:200]!r} is not inside {folder}", fix="bundles come from there alone"
        )
    return path


def _under(reference: str, origin: str) -> str:
    """Return an address under the one that bundles come from."""
    base = origin if origin.endswith("/") else origin + "/"
    url = reference if "://" in reference else base + reference
    parts, own = urlsplit(url), urlsplit(base)
    segments = unquote(parts.path).split("/")
    if (
        not url.startswith(base)
        or (parts.scheme, parts.netloc) != (own.scheme, own.netloc)
        or {"..", "."} & set(segments)
        or not url.isprintable()
        or " " in url
        or "\\" in unquote(url)
        or parts.query
        or parts.fragment
    ):
        raise BundleError(
            f"{reference[:200]!r} is not under {origin}", fix="bundles come from there alone"
        )
    return url
