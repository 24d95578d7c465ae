"""A bundle's model on a Triton Inference Server, as a session.

The server must hold the very model of the local bundle. Names, types and shapes are compared when
the session opens; the fingerprint that the export wrote among the model's parameters, with every
answer: a server can load another model at any time, and a restart goes unseen because gRPC makes a
broken connection anew in silence. It costs one small request more an answer (0.5 ms here).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import BundleError, VisionEdgeError, require
from vision_edge.runtime.inference.triton_address import (
    CA,
    CERTIFICATE,
    KEY,
    TritonAddress,
    headers_for,
    parse_triton,
)
from vision_edge.runtime.system.backoff import Backoff

FINGERPRINT_KEY = "vision_edge_fingerprint"
MANIFEST_KEY = "vision_edge_manifest_sha256"
"""Parameters of the model on the server, which the export writes."""

T = TypeVar("T")
_MAX_MESSAGE = 2**31 - 1
_RECONNECT_MS = 1000
_AWAY = "StatusCode.UNAVAILABLE"
_LATE = "StatusCode.DEADLINE_EXCEEDED"
_DENIED = ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")


class TritonError(VisionEdgeError):
    """A Triton server is away, refuses, or answers wrongly."""


def open_triton(bundle: Bundle, address: str) -> TritonRunner:
    """Connect to a Triton server.

    Args:
        bundle: The verified local bundle, whose model the server must hold.
        address: `triton://host:8001/model`, with options as `triton_address` explains.

    Returns:
        The connection; its model has been compared, and has embedded nothing yet. Its `notes` say
        what a user should know, its `address` where it is.

    Raises:
        VisionEdgeError: If the address is none, or the server stays away.
        BundleError: If the server holds another model.
        MissingExtraError: If `tritonclient` is not installed.
    """
    where = parse_triton(address)
    runner = TritonRunner(bundle, where)
    try:
        runner.connect()
    except BaseException:
        runner.close()
        raise
    return runner


@dataclass
class TritonRunner:
    """A connection to one model. Thread-safe, as the client's calls are.

    Attributes:
        bundle: What the server must hold.
        address: Where it is.
        notes: What a user should know.
    """

    bundle: Bundle
    address: TritonAddress
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._grpc = require("tritonclient.grpc")
        self._headers = headers_for(self.address)
        self._client = self._grpc.InferenceServerClient(
            self.address.server, channel_args=_channel(), **_credentials(self.address)
        )
        self._manifest = manifest_sha256(self.bundle)
        self._max_batch = 1

    def connect(self) -> None:
        """Wait for the server and the model, and compare the model with the bundle.

        Raises:
            TritonError: If they stay away, or refuse.
            BundleError: If the model is another one.
        """
        self._patiently(self._compare)

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR, N at least 1, as new float32 (N, D).

        More images than the server's largest batch are sent one batch after another.

        Raises:
            TritonError: If the server stays away, refuses, or answers wrongly.
            BundleError: If another model answered.
        """
        parts = [
            self._patiently(partial(self._infer, images[k : k + self._max_batch]))
            for k in range(0, len(images), self._max_batch)
        ]
        embeddings: Embeddings = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return embeddings

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _patiently(self, action: Callable[[], T]) -> T:
        """Do something; while the server is away, again, for as long as patience lasts."""
        pauses, end = Backoff(0.1, 2.0), time.monotonic() + self.address.patience
        while True:
            try:
                return action()
            except self._grpc.InferenceServerException as error:
                problem = self._explained(error)
                if error.status() != _AWAY:
                    raise problem from error
            except _NotReadyError as error:
                problem = error.problem
            pause = pauses.pause()
            if time.monotonic() + pause > end:
                raise problem
            time.sleep(pause)

    def _infer(self, images: Image) -> Embeddings:
        tensor = self._grpc.InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(np.ascontiguousarray(images))
        result = self._client.infer(
            self.address.model,
            [tensor],
            self.address.version,
            [self._grpc.InferRequestedOutput("embeddings")],
            client_timeout=self.address.timeout,
            headers=self._headers,
        )
        self._compare_parameters()
        embeddings = result.as_numpy("embeddings")
        expected = (len(images), self.bundle.manifest.embedding_dim)
        got = None if embeddings is None else (embeddings.dtype, embeddings.shape)
        if got != (np.float32, expected):
            raise TritonError(
                f"{self.address}: answered {got}, not float32 {expected}",
                fix="export the bundle again with --target triton, and reload the model",
            )
        copied: Embeddings = np.array(embeddings)
        return copied

    def _compare(self) -> None:
        """Compare the server's model with the bundle, once it is ready."""
        self._await_ready()
        self._compare_ports()
        self._compare_parameters()

    def _await_ready(self) -> None:
        client, address = self._client, self.address
        options = {"headers": self._headers, "client_timeout": address.timeout}
        if not client.is_server_live(**options):
            raise _NotReadyError(f"{address}: the server is not live", "see the server's log")
        try:
            ready = client.is_model_ready(address.model, address.version, **options)
        except self._grpc.InferenceServerException as error:
            if error.status() == _AWAY:
                raise
            ready = False  # some versions answer so for a model that they do not know
        if not ready:
            raise _NotReadyError(
                f"{address}: the server has no model {address.model!r} that is ready "
                f"(it has: {self._models() or 'none'})",
                "check the name in the address, and the server's log for why it did not load",
            )

    def _models(self) -> str:
        try:
            index = self._client.get_model_repository_index(
                headers=self._headers, client_timeout=self.address.timeout
            )
        except self._grpc.InferenceServerException:
            return "unknown"
        states = [f"{model.name} {model.state}".strip().lower() for model in index.models[:10]]
        return ", ".join(sorted(states))

    def _compare_ports(self) -> None:
        metadata = self._client.get_model_metadata(
            self.address.model,
            self.address.version,
            headers=self._headers,
            client_timeout=self.address.timeout,
        )
        size, dim = self.bundle.manifest.preprocessing.size, self.bundle.manifest.embedding_dim
        got = [_port(port) for port in (*metadata.inputs, *metadata.outputs)]
        expected = [
            ("images", "UINT8", [-1, size, size, 3]),
            ("embeddings", "FP32", [-1, dim]),
        ]
        if got != expected:
            raise BundleError(
                f"{self.address}: its model has {got}; the bundle {self.bundle.path} has "
                f"{expected}",
                fix="serve the bundle's own model: export it with --target triton",
            )

    def _compare_parameters(self) -> None:
        config = self._client.get_model_config(
            self.address.model,
            self.address.version,
            headers=self._headers,
            client_timeout=self.address.timeout,
        ).config
        given = {key: value.string_value for key, value in config.parameters.items()}
        self._compare_fingerprint(given.get(FINGERPRINT_KEY))
        if given.get(MANIFEST_KEY) != self._manifest:
            note = f"{self.address}: the same model, exported with another manifest than here"
            self.notes = [note]
        self._max_batch = max(1, config.max_batch_size)

    def _compare_fingerprint(self, theirs: str | None) -> None:
        ours = self.bundle.manifest.fingerprint
        if theirs == ours:
            return
        what = "carries no fingerprint of vision-edge"
        if theirs is not None:
            what = f"is another one: its fingerprint is {theirs[:12]}…, the bundle's {ours[:12]}…"
        raise BundleError(
            f"{self.address}: the server's model {what}, so its embeddings cannot be compared with "
            "the gallery's",
            fix=f"serve {self.bundle.path} (vision-edge export --target triton), or use the "
            "bundle that is served",
        )

    def _explained(self, error: Any) -> TritonError:
        """Return what a failed call means."""
        status, said = error.status(), (error.message() or "").splitlines()
        reason = said[0] if said else str(status)
        if status == _AWAY:
            fix = "check host, port (gRPC: 8001), tls=1 and the network; is the server running?"
            return TritonError(f"{self.address}: no server answers ({reason})", fix=fix)
        if status == _LATE:
            fix = "the server or network is too slow; raise it with ?timeout=SECONDS"
            what = f"{self.address}: no answer within {self.address.timeout:g} s"
            return TritonError(what, fix=fix)
        if status in _DENIED:
            fix = "set VISION_EDGE_TRITON_TOKEN to a token that the server's proxy accepts"
            return TritonError(f"{self.address}: access is refused ({reason})", fix=fix)
        return TritonError(f"{self.address}: {reason}", fix="see the server's log")


class _NotReadyError(Exception):
    """The server answers, but is not ready yet."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.problem = TritonError(what, fix=fix)


def manifest_sha256(bundle: Bundle) -> str:
    """Return the SHA-256 of a bundle's `manifest.json`, in hexadecimal."""
    return hashlib.sha256(bundle.manifest.to_bytes()).hexdigest()


def _port(port: Any) -> tuple[str, str, list[int]]:
    return port.name, port.datatype, list(port.shape)


def _channel() -> list[tuple[str, int]]:
    """Return gRPC's settings: large batches pass, and a server that is back is soon noticed."""
    return [
        ("grpc.max_send_message_length", _MAX_MESSAGE),
        ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
    ]


def _credentials(address: TritonAddress) -> dict[str, Any]:
    """Return the client's arguments for TLS; the files are named by environment variables.

    Raises:
        VisionEdgeError: If a file cannot be read.
    """
    if not address.tls:
        return {}
    files = {
        "root_certificates": os.environ.get(CA),
        "certificate_chain": os.environ.get(CERTIFICATE),
        "private_key": os.environ.get(KEY),
    }
    for variable, path in zip((CA, CERTIFICATE, KEY), files.values(), strict=True):
        if path is not None and not os.access(path, os.R_OK):
            raise VisionEdgeError(
                f"{variable}: {path} cannot be read", fix="give the path of a PEM file"
            )
    return {"ssl": True, **files}
