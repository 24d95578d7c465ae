"""What the runtime's tests share: a tiny ONNX model, bundles of it, pictures, command runs."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import write_bundle
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.sources.frame import Frame

SIZE, DIM, GRID = 32, 16, 4
LABELS = ["bolt", "nut", "washer"]
MAIN = "from vision_edge.cli.app import main; main()"


def picture(number: int, side: int = 48) -> Image:
    """Return picture `number`: a coloured 4 x 4 patchwork, uint8 (side, side, 3), BGR."""
    patches = np.random.default_rng(number).integers(0, 256, (GRID, GRID, 3), dtype=np.uint8)
    return np.kron(patches, np.ones((side // GRID, side // GRID, 1), np.uint8))


def noisy(image: Image, seed: int, amount: int = 12) -> Image:
    """Return `image` with noise of up to `amount` grey levels: another shot of one product."""
    noise = np.random.default_rng(seed).integers(-amount, amount + 1, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def weights(seed: int = 0, dim: int = DIM) -> Embeddings:
    """Return the tiny model's only matrix: float32 (48, dim)."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((GRID * GRID * 3, dim)) / 255.0).astype(np.float32)


def reference_embeddings(images: Image, matrix: Embeddings) -> Embeddings:
    """Return in numpy what the tiny model returns for uint8 (N, S, S, 3): float32 (N, D)."""
    step = images.shape[1] // GRID
    blocks = images.astype(np.float64).reshape(len(images), GRID, step, GRID, step, 3)
    pooled = blocks.mean(axis=(2, 4)).transpose(0, 3, 1, 2).reshape(len(images), -1)
    return (pooled @ matrix).astype(np.float32)


def tiny_model(
    matrix: Embeddings | None = None,
    *,
    size: int = SIZE,
    batch: str | int = "n",
    kind: str = "UINT8",
    names: tuple[str, str] = ("images", "embeddings"),
) -> bytes:
    """Return an ONNX file: average pool on a 4 x 4 grid, then one matrix product."""
    from onnx import TensorProto, checker, helper, numpy_helper

    matrix = weights() if matrix is None else matrix
    step = size // GRID
    images, embeddings = names
    inputs = [
        helper.make_tensor_value_info(images, getattr(TensorProto, kind), [batch, size, size, 3])
    ]
    outputs = [
        helper.make_tensor_value_info(embeddings, TensorProto.FLOAT, [batch, matrix.shape[1]])
    ]
    nodes = [
        helper.make_node("Cast", [images], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["nchw"], ["pooled"], kernel_shape=[step, step], strides=[step, step]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], [embeddings]),
    ]
    graph = helper.make_graph(
        nodes, "tiny", inputs, outputs, [numpy_helper.from_array(matrix, "matrix")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def cohort_of(matrix: Embeddings, count: int = 40) -> Embeddings:
    """Return the embeddings of pictures that no test registers: float32 (count, D)."""
    images = np.stack([picture(10_000 + k, SIZE) for k in range(count)])
    return reference_embeddings(images, matrix)


def npy(array: Any) -> bytes:
    """Return an array as the bytes of a `.npy` file (an object array is pickled)."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def manifest_fields(cohort: Embeddings, **changes: Any) -> dict[str, Any]:
    """Return every field of a manifest but `files`."""
    fields: dict[str, Any] = {
        "name": "tiny – ⚙",
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"vision-edge": "0"},
        "backbone": {"name": "tiny", "sha256": hashlib.sha256(b"").hexdigest(), "parameters": 1},
        "adapter": None,
        "preprocessing": {"size": SIZE, "interpolation": "bilinear"},
        "embedding_dim": cohort.shape[1],
        "precision": "fp32",
        "parity": {"images": 1, "image_source": "x", "min_cosine": 1.0, "mean_cosine": 1.0},
        "scoring": {
            "centre": [float(value) for value in cohort.mean(axis=0)],
            "cohort_source": "patchworks",
            "cohort_from_station": True,
            "cohort_size": len(cohort),
        },
    }
    return {**fields, **changes}


def make_bundle(
    path: Path,
    *,
    matrix: Embeddings | None = None,
    model: bytes | None = None,
    cohort_bytes: bytes | None = None,
    **changes: Any,
) -> Path:
    """Write a bundle of the tiny model, or with parts that do not fit it, and return its path."""
    matrix = weights() if matrix is None else matrix
    cohort = cohort_of(matrix)
    files = {
        "model.onnx": tiny_model(matrix) if model is None else model,
        "cohort.npy": npy(cohort) if cohort_bytes is None else cohort_bytes,
    }
    write_bundle(path, manifest_fields(cohort, **changes), files)
    return path


def write_shots(folder: Path) -> Path:
    """Write bolt.png, nut.png and washer.png, which show pictures 0, 1 and 2."""
    import cv2

    folder.mkdir(parents=True)
    for number, label in enumerate(LABELS):
        assert cv2.imwrite(str(folder / f"{label}.png"), noisy(picture(number, 96), number))
    return folder


class FakeEmbedder:
    """An embedder without ONNX Runtime: the tiny model in numpy. Remembers its batch sizes."""

    name = "fake"

    def __init__(self) -> None:
        self.spec = PreprocessSpec(size=SIZE, interpolation="bilinear")
        self.batches: list[int] = []

    def embed(self, images: Image) -> Embeddings:
        self.batches.append(len(images))
        return reference_embeddings(images, weights())


class FakeSource:
    """A source of the frames given."""

    fps: float | None = 25.0

    def __init__(self, frames: Iterable[Frame], *, live: bool = False, name: str = "fake") -> None:
        self.name = name
        self.live = live
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        pass


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, with one thread a library."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=60,
        **options,
    )


def invoke(*arguments: str | Path) -> Any:
    """Run the `vision-edge` command in this process; `output` holds what both streams got."""
    from typer.testing import CliRunner

    from vision_edge.cli.app import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def invoked(*arguments: str | Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output or result.exception
    return str(result.output)


def vision_edge(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the `vision-edge` command in a process of its own."""
    return python(MAIN, *arguments, **options)
