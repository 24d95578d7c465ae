"""The engines of a bundle: files in its folder `engines/`, each with a record beside it.

An engine is used only with its record: the key says whether it fits, the hash whether it is whole,
and the gates on which devices it was found to give the bundle's embeddings.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vision_edge.runtime.bundles.manifest import Sha256
from vision_edge.runtime.errors import EngineError
from vision_edge.runtime.inference.tensorrt.key import EngineKey
from vision_edge.runtime.system.files import atomic_file

FOLDER = "engines"
_LOCK = ".lock"
_HASH_BYTES = 32


class Gate(BaseModel):
    """What the parity gate found on one device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    min_cosine: float
    mean_cosine: float
    minimum: float
    images: int
    source: str
    time: str


class EngineRecord(BaseModel):
    """What is known of an engine.

    Attributes:
        schema_version: Of this record.
        key: What the engine depends on.
        sha256: Hash of its file.
        bytes: Size of its file.
        built: UTC time, ISO 8601.
        seconds: How long the build took.
        gates: By device: whether it may be used there. A device that is not named must try first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    key: EngineKey
    sha256: Sha256
    bytes: int
    built: str
    seconds: float
    gates: dict[str, Gate] = {}


class EngineStore:
    """The engines of one bundle.

    Args:
        bundle: The bundle's folder.
    """

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle / FOLDER

    @contextmanager
    def lock(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the folder against other processes; `on_wait` is called if one holds it now.

        Raises:
            EngineError: If the folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def records(self) -> list[EngineRecord]:
        """Return every readable record, newest first; a damaged one counts as none."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                record = EngineRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
            if record.key.name == path.stem:
                found.append(record)
        return sorted(found, key=lambda record: record.built, reverse=True)

    def find(self, key: EngineKey) -> EngineRecord | None:
        """Return the record of exactly this key."""
        return next((record for record in self.records() if record.key == key), None)

    def read(self, record: EngineRecord) -> bytes:
        """Return an engine's bytes, hashed: nothing else may reach TensorRT.

        Raises:
            EngineError: If the file is absent, cut short or altered.
        """
        path = self._engine(record.key)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EngineError(
                f"{path}: cannot be read ({error.strerror})", fix="run `vision-edge compile` again"
            ) from error
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise EngineError(
                f"{path}: altered or cut short ({len(data)} of {record.bytes} bytes)",
                fix="run `vision-edge compile` again",
            )
        return data

    def write(self, record: EngineRecord, data: bytes) -> None:
        """Write an engine and then its record; a crash in between leaves no usable engine.

        Raises:
            EngineError: If there is no room, or the folder cannot be written; nothing is left.
        """
        self._put(self._engine(record.key), data)
        try:
            self.update(record)
        except EngineError:
            self._engine(record.key).unlink(missing_ok=True)
            raise

    def update(self, record: EngineRecord) -> None:
        """Write a record anew.

        Raises:
            EngineError: If it cannot be written.
        """
        document = record.model_dump_json(indent=2) + "\n"
        self._put(self.folder / f"{record.key.name}.json", document.encode())

    def discard(self, key: EngineKey) -> None:
        """Remove an engine, its record first."""
        for path in (self.folder / f"{key.name}.json", self._engine(key)):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove engines without a readable record, and what a killed build left; hold the lock."""
        known = {record.key.name for record in self.records()}
        for path in self.folder.iterdir():
            orphan = path.suffix in (".engine", ".json") and path.stem not in known
            if (orphan or path.name.startswith(".")) and path.name != _LOCK:
                path.unlink(missing_ok=True)

    def read_cache(self, name: str) -> bytes | None:
        """Return a cache of the compiler's, or None if there is none or it is damaged."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError:
            return None
        digest, content = data[:_HASH_BYTES], data[_HASH_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None

    def write_cache(self, name: str, content: bytes) -> None:
        """Keep a cache of the compiler's, its hash in front.

        Raises:
            EngineError: If it cannot be written.
        """
        self._put(self.folder / name, hashlib.sha256(content).digest() + content)

    def _engine(self, key: EngineKey) -> Path:
        return self.folder / f"{key.name}.engine"

    def _put(self, path: Path, data: bytes) -> None:
        try:
            with atomic_file(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> EngineError:
    return EngineError(
        f"{path}: cannot be written ({error.strerror}); nothing was kept",
        fix="make room on the disk and check the folder's permissions, or copy the bundle to where "
        "you may write",
    )
