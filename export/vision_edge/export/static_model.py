"""A bundle's model for the compilers of NPUs and small boards: pnnx (ncnn), OpenVINO, RKNN, Hailo.

`OUT/model.onnx` with float input, fixed shapes and q, k and v apart, and `OUT/input.json`, which
says what its pixels are and which bundle it belongs to: a gallery's embeddings mean nothing to any
other. The model is compared with the bundle's own before it is written.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_edge.export.gate.parity import compare
from vision_edge.export.graph.cpu_session import cpu_session
from vision_edge.export.graph.static_graph import INPUT, OUTPUT, to_static
from vision_edge.export.settings import MIN_COSINE
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.bundles.manifest import MODEL_FILE
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.system.files import atomic_folder

ABOUT_FILE = "input.json"
_IMAGES = 16


@dataclass(frozen=True)
class StaticSettings:
    """How the model is written.

    Attributes:
        batch: Images in each run: every shape is a number.

    Raises:
        ExportError: If it is less than 1.
    """

    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ExportError(f"a batch has at least 1 image; got {self.batch}")


def write_static_model(bundle: Bundle, out: Path, settings: StaticSettings | None = None) -> Path:
    """Write a bundle's model with float input, fixed shapes and q, k and v apart.

    Args:
        bundle: A verified bundle in fp32; compilers of NPUs choose the precision themselves.
        out: A folder; an earlier one of ours is replaced.
        settings: The batch.

    Returns:
        The folder, complete.

    Raises:
        ExportError: If the bundle's form does not go with it, the result is not the same model,
            or there is something at its place that no export wrote.
    """
    chosen = settings or StaticSettings()
    _check(bundle, out)
    size = bundle.manifest.preprocessing.size
    model = to_static(bundle.model, size, chosen.batch)
    images = np.stack(generated_scenes(_IMAGES, size, seed=3))
    expected = open_session(bundle, "cpu").embed(images)
    parity = compare(expected, static_embeddings(model, images, chosen.batch))
    if parity.min_cosine < MIN_COSINE["fp32"]:
        raise ExportError(
            f"{bundle.path}: rewritten for fixed shapes it is another model: cosine "
            f"{parity.min_cosine:.6f}, {MIN_COSINE['fp32']} is asked",
            fix="report this backbone",
        )
    about = {
        "fingerprint": bundle.manifest.fingerprint,
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "input": {
            "name": INPUT, "shape": [chosen.batch, 3, size, size], "type": "float32",
            "order": "BGR", "range": [0, 255], "mean": [0, 0, 0], "std": [1, 1, 1],
        },
        "output": {"name": OUTPUT, "shape": [chosen.batch, bundle.manifest.embedding_dim]},
        "min_cosine": round(parity.min_cosine, 7),
    }  # fmt: skip
    with atomic_folder(out) as folder:
        (folder / MODEL_FILE).write_bytes(model)
        (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return out


def planes(images: Image) -> Embeddings:
    """Return prepared images as such a model takes them.

    Args:
        images: uint8 (N, S, S, 3), BGR, as `prepare` gives them.

    Returns:
        float32 (N, 3, S, S), BGR, 0 to 255, contiguous.
    """
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)


def static_embeddings(model: bytes, images: Image, batch: int) -> Embeddings:
    """Embed images with such a model in ONNX Runtime on the CPU.

    Args:
        model: What `write_static_model` wrote.
        images: uint8 (N, S, S, 3), BGR; N is a multiple of `batch` or is filled up to one.
        batch: The model's.

    Returns:
        float32 (N, D).
    """
    session = cpu_session(model)
    filled = np.concatenate([images, images[:1].repeat(-len(images) % batch, axis=0)])
    parts = np.split(planes(filled), len(filled) // batch)
    rows = [session.run([OUTPUT], {INPUT: part})[0] for part in parts]
    embeddings: Embeddings = np.concatenate(rows)[: len(images)]
    return embeddings


def _check(bundle: Bundle, out: Path) -> None:
    """Refuse what cannot be written, or would be overwritten."""
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        raise ExportError(
            f"{bundle.path}: is {manifest.precision}; compilers of NPUs take float32 and choose "
            "the precision themselves",
            fix="export with --precision fp32",
        )
    if manifest.patches is not None:
        raise ExportError(
            f"{bundle.path}: gives patches as a second output, which is not asked for here",
            fix="export a bundle without --patches for it",
        )
    if out.exists() and not (out / ABOUT_FILE).is_file():
        raise ExportError(
            f"{out} exists and was not exported by vision-edge, so it is not overwritten",
            fix="give another folder",
        )
