"""A backend of Triton by the name `onnxruntime`, written in Python, for a server that came without.

Triton starts one process of it for each instance of a model. It gets the batches that the server
made, and runs the model's own file; the server itself, its scheduler and its protocol are real.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb  # beside the server's Python backend


class TritonPythonModel:
    """One instance of one model, as Triton's Python backend wants it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model that the configuration names."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._inputs = [port["name"] for port in config["input"]]
        self._outputs = [port["name"] for port in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / config["default_model_filename"]), options
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch with one run of the model."""
        given = [[_array(request, name) for name in self._inputs] for request in requests]
        whole = dict(zip(self._inputs, map(np.concatenate, zip(*given, strict=True)), strict=True))
        answers = self._session.run(self._outputs, whole)
        ends = np.cumsum([len(first) for first, *_ in given])[:-1]
        parts = zip(*(np.split(answer, ends) for answer in answers), strict=True)
        return [pb.InferenceResponse(self._tensors(part)) for part in parts]

    def _tensors(self, arrays: tuple[Any, ...]) -> list[Any]:
        return [pb.Tensor.from_dlpack(*pair) for pair in zip(self._outputs, arrays, strict=True)]


def _array(request: Any, name: str) -> Any:
    """Return an input of a request, by DLPack: the server's own way knows no numpy 2."""
    return np.from_dlpack(pb.get_input_tensor_by_name(request, name))
