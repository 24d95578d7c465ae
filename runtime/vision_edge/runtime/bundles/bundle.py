"""Bundles: a folder with a model and all that a device needs to use it.

Loading verifies every byte against the manifest before any parser sees it.
"""

from __future__ import annotations

import errno
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.external_data import names_other_files, repeating_operator
from vision_edge.runtime.bundles.manifest import (
    COHORT_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    FileInfo,
    Manifest,
)
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.provenance.names import SIGNATURE_FILE
from vision_edge.runtime.system.files import atomic_folder, read_regular

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance, Signed

MAX_MANIFEST = 16 << 20
MAX_FILE = 2 << 30
"""Bytes of one file; no ONNX file can have more."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: The bundle's folder.
        manifest: Its manifest.
        model: Bytes of `model.onnx`, exactly those that were verified.
        cohort: float32 (M, D): embeddings of images of no product, for centre and thresholds.
        signed: Who has signed it, where that was checked; None where nobody asked.
    """

    path: Path
    manifest: Manifest
    model: bytes
    cohort: Embeddings
    signed: Signed | None = None

    @property
    def centre(self) -> Embeddings:
        """float32 (D,): the mean embedding of the cohort."""
        return np.asarray(self.manifest.scoring.centre, dtype=np.float32)


def load_bundle(path: Path | str, provenance: Provenance | None = None) -> Bundle:
    """Read a bundle and verify all of it.

    Args:
        path: The bundle's folder.
        provenance: Whose signature it must bear, checked before a byte of it is parsed; None asks
            for none: its own hashes then stop accidents, and nobody who rewrites them.

    Returns:
        The verified bundle; the bytes that were hashed are the bytes that are used.

    Raises:
        BundleError: If the folder is no bundle, or anything in it is missing, altered, left over
            or of an unknown version.
        ProvenanceError: If it is not signed by whom is trusted, or is too old.
    """
    folder = Path(path)
    signed = None if provenance is None else provenance.folder(folder)
    data = _read(folder, MANIFEST_FILE, MAX_MANIFEST)
    if signed is not None:
        signed.check(MANIFEST_FILE, data, folder)
    manifest = Manifest.from_bytes(data, str(folder / MANIFEST_FILE))
    for required in (MODEL_FILE, COHORT_FILE):
        if required not in manifest.files:
            raise BundleError(f"{folder}: the manifest lists no {required}", fix="export again")
    if signed is not None:
        for name, info in manifest.files.items():
            signed.check_hash(name, info.sha256, folder)
    contents = {name: _verified(folder, name, info) for name, info in manifest.files.items()}
    _refuse_strangers(folder, manifest)
    _refuse_unfit_model(contents[MODEL_FILE], folder / MODEL_FILE)
    cohort = _read_cohort(contents[COHORT_FILE], manifest, folder)
    return Bundle(folder, manifest, contents[MODEL_FILE], cohort, signed)


def check_target(path: Path) -> None:
    """Raise `BundleError` if writing a bundle to `path` would destroy something else."""
    if path.exists() and not (path / MANIFEST_FILE).is_file():
        raise BundleError(
            f"{path} exists and is not a bundle, so it is not overwritten",
            fix="give --out a new or an older bundle's folder",
        )


def write_bundle(
    path: Path, manifest_fields: dict[str, object], files: dict[str, bytes]
) -> Manifest:
    """Write a bundle atomically: the folder appears complete, or not at all.

    Args:
        path: The bundle's folder; an older bundle there is replaced.
        manifest_fields: Every field of `Manifest` but `files`.
        files: Contents by file name.

    Returns:
        The manifest as written.

    Raises:
        BundleError: If `path` exists and is not a bundle: it is not overwritten.
    """
    check_target(path)
    infos = {
        name: FileInfo(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in files.items()
    }
    manifest = Manifest.model_validate({**manifest_fields, "files": infos})
    with atomic_folder(path) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return manifest


def _read(folder: Path, name: str, most: int, size: int | None = None) -> bytes:
    try:
        return read_regular(folder / name, most, size)
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.EMLINK)
        raise BundleError(
            f"{folder}: {name} cannot be read ({'a link' if link else error.strerror})",
            fix="give a folder that `vision-edge export` wrote, and copy its files, not links",
        ) from error


def _verified(folder: Path, name: str, info: FileInfo) -> bytes:
    data = _read(folder, name, MAX_FILE)
    got = hashlib.sha256(data).hexdigest()
    if got != info.sha256:
        raise BundleError(
            f"{folder / name}: altered or damaged: {len(data)} bytes with SHA-256 {got[:12]}…, "
            f"the manifest says {info.bytes} bytes with {info.sha256[:12]}…",
            fix="copy the bundle again from where it was exported",
        )
    return data


def _refuse_strangers(folder: Path, manifest: Manifest) -> None:
    """Refuse files the manifest does not list: ONNX could refer to them as external data.

    A sub-folder is no part of the bundle (engine caches live in one) and is never read here.
    """
    known = {*manifest.files, MANIFEST_FILE, SIGNATURE_FILE}
    strangers = sorted(
        entry.name for entry in folder.iterdir() if not entry.is_dir() and entry.name not in known
    )
    if strangers:
        raise BundleError(
            f"{folder}: has files its manifest does not list: {', '.join(strangers[:5])}",
            fix="remove them; nothing unlisted belongs in a bundle",
        )


def _refuse_unfit_model(model: bytes, path: Path) -> None:
    """Refuse a model whose weights lie in files that nothing has verified, or that may not end."""
    try:
        outside = names_other_files(model)
        repeating = repeating_operator(model)
    except ValueError as error:
        raise BundleError(f"{path}: not an ONNX file ({error})", fix="export again") from error
    if outside:
        raise BundleError(
            f"{path}: keeps weights in other files, which a bundle does not have",
            fix="export again: `vision-edge export` writes all weights into one file",
        )
    if repeating is not None:
        raise BundleError(
            f"{path}: has a loop ({repeating!r}), so that it might run without end",
            fix="export again: `vision-edge export` writes no loops",
        )


def _read_cohort(data: bytes, manifest: Manifest, folder: Path) -> Embeddings:
    try:
        cohort = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:
        raise BundleError(f"{folder / COHORT_FILE}: {error}", fix="export again") from error
    shape = (manifest.scoring.cohort_size, manifest.embedding_dim)
    centre = len(manifest.scoring.centre)
    if cohort.shape != shape or cohort.dtype != np.float32 or centre != manifest.embedding_dim:
        raise BundleError(
            f"{folder / COHORT_FILE}: expected float32 {shape} and a centre of {shape[1]}, "
            f"got {cohort.dtype} {cohort.shape} and {centre}",
            fix="export again",
        )
    if not np.isfinite(cohort).all():
        raise BundleError(f"{folder / COHORT_FILE}: not all values are finite", fix="export again")
    embeddings: Embeddings = cohort
    return embeddings
