"""A gRPC server that speaks Triton's protocol and serves a model repository with ONNX Runtime.

It is no Triton: it knows what the tests need of it, and reads `config.pbtxt` with the protobuf
classes that NVIDIA's client ships.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

_TYPES = {"TYPE_UINT8": "UINT8", "TYPE_FP32": "FP32"}


def read_config(folder: Path) -> Any:
    """Parse a model's `config.pbtxt` strictly: an unknown field is an error."""
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves every model of a repository.

    Attributes:
        live: Whether the server says that it is.
        ready: Whether its models say so.
        delay: Seconds that an answer takes.
        token: What the requests must carry, if anything.
        batches: Sizes of all batches that came.
        calls: Names of all calls that came.
    """

    def __init__(self, repository: Path) -> None:
        self.live, self.ready, self.delay = True, True, 0.0
        self.token: str | None = None
        self.wrong_answer: bytes | None = None
        self.batches: list[int] = []
        self.calls: list[str] = []
        self.models: dict[str, Any] = {}
        self.load(repository)

    def load(self, repository: Path) -> None:
        """Load the repository's models; those that were there go."""
        self.models = {}
        for folder in sorted(repository.iterdir()):
            config = read_config(folder)
            assert config.name == folder.name
            (version,) = config.version_policy.specific.versions
            file = folder / str(version) / config.default_model_filename
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(file), options)
            self._warm_up(config, session)
            self.models[config.name] = (config, session)

    def _warm_up(self, config: Any, session: Any) -> None:
        for run in config.model_warmup:
            feeds = {
                name: np.zeros((run.batch_size, *given.dims), np.uint8)
                for name, given in run.inputs.items()
                if given.zero_data
            }
            (answer,) = session.run([config.output[0].name], feeds)
            assert answer.shape == (run.batch_size, *config.output[0].dims)

    def _model(self, name: str, context: Any) -> Any:
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}'")
        return self.models[name]

    def _called(self, name: str, context: Any) -> None:
        self.calls.append(name)
        given = dict(context.invocation_metadata()).get("authorization")
        if self.token is not None and given != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    def ServerLive(self, request: Any, context: Any) -> Any:
        self._called("ServerLive", context)
        return service_pb2.ServerLiveResponse(live=self.live)

    def ModelReady(self, request: Any, context: Any) -> Any:
        self._called("ModelReady", context)
        ready = self.ready and request.name in self.models
        return service_pb2.ModelReadyResponse(ready=ready)

    def RepositoryIndex(self, request: Any, context: Any) -> Any:
        Index = service_pb2.RepositoryIndexResponse
        models = [Index.ModelIndex(name=name, state="READY") for name in self.models]
        return Index(models=models)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._called("ModelMetadata", context)
        config, _ = self._model(request.name, context)
        Metadata = service_pb2.ModelMetadataResponse
        assert config.max_batch_size > 0
        ports = [
            [
                Metadata.TensorMetadata(
                    name=port.name,
                    datatype=_TYPES[model_config_pb2.DataType.Name(port.data_type)],
                    shape=[-1, *port.dims],
                )
                for port in side
            ]
            for side in (config.input, config.output)
        ]
        return Metadata(name=config.name, versions=["1"], inputs=ports[0], outputs=ports[1])

    def ModelConfig(self, request: Any, context: Any) -> Any:
        self._called("ModelConfig", context)
        config, _ = self._model(request.name, context)
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self._called("ModelInfer", context)
        time.sleep(self.delay)
        config, session = self._model(request.model_name, context)
        (given,) = request.inputs
        shape = list(given.shape)
        if given.datatype != "UINT8" or shape[1:] != list(config.input[0].dims):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected {given.datatype} {shape}")
        if shape[0] > config.max_batch_size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"batch of {shape[0]} is too large")
        self.batches.append(shape[0])
        images = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        (answer,) = session.run([config.output[0].name], {given.name: images})
        Infer = service_pb2.ModelInferResponse
        tensor = Infer.InferOutputTensor(
            name=config.output[0].name, datatype="FP32", shape=answer.shape
        )
        raw = answer.tobytes() if self.wrong_answer is None else self.wrong_answer
        return Infer(model_name=config.name, outputs=[tensor], raw_output_contents=[raw])


def serve(servicer: FakeTriton, port: int = 0, credentials: Any = None) -> tuple[grpc.Server, int]:
    """Start the server on this machine; return it and its port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    address = f"localhost:{port}"
    if credentials is None:
        bound = server.add_insecure_port(address)
    else:
        bound = server.add_secure_port(address, credentials)
    assert bound
    server.start()
    return server, bound
