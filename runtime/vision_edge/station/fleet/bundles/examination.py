"""A stranger's bundle is unpacked, read, opened and tried in a process of its own.

That process has limits of memory, time and files, and is killed when it is over them. The station's
own process reads no byte of the bundle before the other has taken all of it.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.bundles.manifest import MANIFEST_FILE
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.system.limited_process import (
    LimitedProcess,
    LimitError,
    ProcessLimits,
    RefusedError,
)
from vision_edge.station.settings.fleet import FleetSettings

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance

_EXAMINER = "vision_edge.station.fleet.bundles.examiner"
_NAME = "the examination of the bundle"


class Examination:
    """Examines one bundle, or several in turn. Use it as a context manager, or call `close`.

    Args:
        settings: Say how large a bundle may be, and what its examination may use.
        provenance: Whose signature a bundle must bear; None asks for none.

    Attributes:
        max_bytes: A bundle's, packed or not.
        provenance: The same.
    """

    def __init__(self, settings: FleetSettings, provenance: Provenance | None = None) -> None:
        self.provenance = provenance
        self.max_bytes = round(settings.max_bundle_mb * 1e6)
        self._limits = settings.trial
        self._until = time.monotonic() + settings.trial.seconds
        self._process: LimitedProcess | None = None

    def __enter__(self) -> Examination:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bring(self, bundle: Path, folder: Path, how: Literal["unpack", "copy"]) -> None:
        """Write a bundle's files into an empty folder, and verify all of them.

        Where a signature is required, it is checked before: that of a zip by whoever copied it,
        that of a folder here, and the other process is told the hash of the manifest.

        Args:
            bundle: A zip to `unpack`, or a folder to `copy`.
            folder: An existing, empty folder.
            how: Which of both.

        Raises:
            BundleError: If it is not sound, or its examination passed a limit.
        """
        signed = None
        if self.provenance is not None and how == "copy":
            signed = self.provenance.folder(bundle).statement.files.get(MANIFEST_FILE, "")
        request = {
            "manifest": signed,
            "do": "bring",
            "how": how,
            "bundle": str(bundle.absolute()),
            "folder": str(folder.absolute()),
            "max_bytes": self.max_bytes,
        }
        self.ask(request, self._limits.open_seconds)

    def opened(self, bundle: Path, provider: str, threads: int | None) -> ExaminedModel:
        """Open a bundle's model in the process, and run it on one picture.

        Raises:
            BundleError: If it cannot be opened, or its examination passed a limit.
        """
        request = {
            "do": "open",
            "bundle": str(bundle.absolute()),
            "provider": provider,
            "threads": threads,
        }
        answer = self.ask(request, self._limits.open_seconds)
        loaded = replace(load_bundle(bundle, self.provenance), model=b"")
        return ExaminedModel(self, loaded, str(answer.get("provider")), self._limits.embed_seconds)

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Have the process do something.

        Raises:
            BundleError: If it refuses the bundle, or was ended for passing a limit.
        """
        left = self._until - time.monotonic()
        with _as_bundle_errors():
            if left <= 0:
                raise LimitError(f"{_NAME} took longer than {self._limits.seconds:g} s in all")
            if self._process is None:
                self._process = self._started()
            return self._process.ask(request, min(seconds, left))

    @property
    def alive(self) -> bool:
        """Whether its process can be asked, or none was needed yet."""
        return self._process is None or self._process.alive

    @property
    def pid(self) -> int | None:
        """Number of its process; None where none is running."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _started(self) -> LimitedProcess:
        most = ProcessLimits(self._limits.memory_mb, file_mb=math.ceil(self.max_bytes / 1e6))
        return LimitedProcess(_EXAMINER, most, _NAME)


class ExaminedModel:
    """An embedder whose model runs in the process of its examination.

    Attributes:
        bundle: Its bundle, without the model's bytes.
        provider: What it runs on there.
        seconds: Of its last inference, without the way there and back.
    """

    def __init__(
        self, examination: Examination, bundle: Bundle, provider: str, embed_seconds: float
    ) -> None:
        self.bundle, self.provider, self.seconds = bundle, provider, 0.0
        self._examination, self._embed_seconds = examination, embed_seconds

    @property
    def name(self) -> str:
        """The bundle's name and the provider."""
        return f"{self.bundle.manifest.name} ({self.provider})"

    @property
    def spec(self) -> PreprocessSpec:
        """How images are prepared for it."""
        return self.bundle.manifest.preprocessing

    def embed(self, images: Image) -> Embeddings:
        """Embed uint8 (N, size, size, 3) BGR images as float32 (N, D).

        Raises:
            BundleError: If the model fails, takes too long, or answers with anything else.
        """
        request = {
            "do": "embed",
            "images": base64.b64encode(np.ascontiguousarray(images).tobytes()).decode("ascii"),
            "shape": list(images.shape),
        }
        answer = self._examination.ask(request, self._embed_seconds)
        try:
            data = base64.b64decode(answer["embeddings"], validate=True)
            values = np.frombuffer(data, np.float32)
            embeddings = values.reshape(len(images), self.bundle.manifest.embedding_dim)
            self.seconds = max(0.0, float(answer["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _strange(str(error)) from error
        if not np.isfinite(embeddings).all() or not math.isfinite(self.seconds):
            raise _strange("not all values are finite")
        return embeddings


@contextmanager
def _as_bundle_errors() -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise BundleError(error.what, fix=error.fix) from error
    except LimitError as error:
        raise BundleError(
            error.what,
            fix="take bundles only from whom you trust; if this one is sound, raise its limit in "
            "[fleet.trial]",
        ) from error


def _strange(why: str) -> BundleError:
    return BundleError(f"{_NAME} answers with no embeddings ({why})", fix="do not use this bundle")
