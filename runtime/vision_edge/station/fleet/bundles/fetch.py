"""Getting a new bundle into the station's own store: verified whole, or not there at all."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.manifest import MANIFEST_FILE, Manifest
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.system.files import atomic_folder, sha256_file
from vision_edge.station.fleet.bundles.download import Downloader, file_hash_beside
from vision_edge.station.fleet.bundles.unpack import unpack
from vision_edge.station.settings.fleet import FleetSettings


def fetch_bundle(
    reference: str, settings: FleetSettings, store: Path, sha256: str | None = None
) -> Path:
    """Bring a bundle into the store.

    Args:
        reference: A path in the folder `bundle_from`, or an address under the one it names: a
            bundle's folder, or a zip of one.
        settings: Say where bundles may come from, and how large they may be.
        store: The station's folder of bundles.
        sha256: Of the zip; None reads it from the file `ZIP.sha256` beside it.

    Returns:
        The bundle's folder in the store, every byte of it verified.

    Raises:
        BundleError: If it is not where bundles come from, cannot be had, or is unsound. Nothing of
            it is left, but for the part of a download to go on with.
    """
    max_bytes = round(settings.max_bundle_mb * 1e6)
    origin = settings.bundle_from
    if origin is None:
        raise BundleError(
            "this station takes no bundles",
            fix='set bundle_from = "FOLDER or https://…" in [fleet]',
        )
    store.mkdir(parents=True, exist_ok=True)
    if "://" in origin:
        return _from_address(_under(reference, origin), settings, store, sha256, max_bytes)
    path = _inside(reference, Path(origin))
    if path.is_dir():
        return _from_folder(path, store, max_bytes)
    _check_size(path, max_bytes)
    if sha256_file(path) != (sha256 or file_hash_beside(path)):
        raise BundleError(f"{path}: its SHA-256 is not the one given", fix="copy it again")
    return _from_archive(path, store, max_bytes)


def _from_address(
    url: str, settings: FleetSettings, store: Path, sha256: str | None, max_bytes: int
) -> Path:
    downloader = Downloader(settings.bundle_ca)
    wanted = (sha256 or downloader.hash_beside(url)).lower()
    part = store / f".{hashlib.sha256((url + wanted).encode()).hexdigest()[:24]}.part"
    for old in set(store.glob(".*.part*")) - {part, part.with_name(part.name + ".etag")}:
        old.unlink(missing_ok=True)
    downloader.fetch(url, part, wanted, max_bytes)
    try:
        return _from_archive(part, store, max_bytes)
    finally:
        part.unlink(missing_ok=True)


def _from_archive(archive: Path, store: Path, max_bytes: int) -> Path:
    with atomic_folder(store / ".new") as folder:
        unpack(archive, folder, max_bytes)
        load_bundle(folder)
    return _settled(store / ".new", store)


def _from_folder(path: Path, store: Path, max_bytes: int) -> Path:
    try:
        data = (path / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: not a bundle ({error.strerror})", fix="check it") from error
    files = Manifest.from_bytes(data, str(path / MANIFEST_FILE)).files
    if sum(info.bytes for info in files.values()) > max_bytes:
        raise BundleError(f"{path}: larger than max_bundle_mb allows", fix="raise it in [fleet]")
    with atomic_folder(store / ".new") as folder:
        for name, info in files.items():
            _check_size(path / name, info.bytes)
            shutil.copyfile(path / name, folder / name)
        (folder / MANIFEST_FILE).write_bytes(data)
        load_bundle(folder)
    return _settled(store / ".new", store)


def _settled(new: Path, store: Path) -> Path:
    """Name a verified bundle by what it is; one that is there already stays as it is."""
    manifest = hashlib.sha256((new / MANIFEST_FILE).read_bytes()).hexdigest()
    final = store / f"bundle-{manifest[:16]}"
    if final.exists():
        try:
            load_bundle(final)
        except BundleError:
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


def _check_size(path: Path, limit: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})", fix="check it") from error
    if size > limit or not path.is_file():
        raise BundleError(f"{path}: larger than it may be ({size} bytes)", fix="export it again")
