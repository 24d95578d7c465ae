"""The process in which a stranger's bundle is unpacked, read, opened and run; see `examination`."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.system.limited_process import serve
from vision_edge.station.fleet.bundles.unpack import copy_bundle, unpack


class Examiner:
    """Answers an examination's requests."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for.

        Raises:
            VisionEdgeError: If the bundle is not fit.
        """
        return _TASKS[request["do"]](self, request)

    def _bring(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a bundle's files into an empty folder, and verify it."""
        folder = Path(request["folder"])
        bundle, most = Path(request["bundle"]), request["max_bytes"]
        if request["how"] == "copy":
            copy_bundle(bundle, folder, most, request["manifest"])
        else:
            unpack(bundle, folder, most)
        load_bundle(folder)
        return {}

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        bundle = load_bundle(request["bundle"])
        self._session = open_session(bundle, request["provider"], request["threads"])
        return {"provider": self._session.provider}

    def _embed(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._session is None:
            raise VisionEdgeError("no bundle is open")
        images = np.frombuffer(base64.b64decode(request["images"]), np.uint8)
        prepared = images.reshape(request["shape"])
        began = time.monotonic()
        embeddings = self._session.embed(prepared)
        seconds = time.monotonic() - began
        values = base64.b64encode(np.ascontiguousarray(embeddings, np.float32).tobytes())
        return {"embeddings": values.decode("ascii"), "seconds": seconds}


_TASKS = {"bring": Examiner._bring, "open": Examiner._open, "embed": Examiner._embed}


def main() -> None:
    """Answer until the input ends."""
    serve(Examiner().answer)
