"""What `gpu_sessions.py` compares: the runtime's sessions and PyTorch, each from array to array."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from gpu_fusions import in_contrib_operators

from vision_edge.export.bundle import ExportImages, export_bundle
from vision_edge.export.graph.tidy import fuse_attention
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.embedder import embed_normalised
from vision_edge.export.precision.half import to_half
from vision_edge.export.settings import ExportSettings
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import COHORT_FILE, MODEL_FILE, BackboneInfo
from vision_edge.runtime.images.generated_scenes import SOURCE, generated_scenes
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import open_session

Embed = Callable[[Image], Embeddings]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
COMPILED = (
    ("fp16", "reduce-overhead"),
    ("fp16", "default"),
    ("fp32", "default"),
    ("fp16", "max-autotune"),
    ("bf16", "max-autotune"),
)
"""Types and modes of `torch.compile`, in the order in which they are wanted if time is short."""
SESSIONS = {
    "plain": SessionOptions(),
    "IO binding": SessionOptions(io_binding=True),
    "CUDA graph": SessionOptions(cuda_graph=True),
    "tf32, CUDA graph": SessionOptions(cuda_graph=True, precision="tf32"),
}
HALVES: dict[str, Callable[[bytes], bytes]] = {
    "fp16": lambda model: to_half(model).model,
    "fp16 fused": lambda model: to_half(fuse_attention(model)).model,
    "fp16 fused throughout": lambda m: to_half(fuse_attention(m), wide=(), residual=False).model,
    "fp16 biases fused": lambda m: to_half(in_contrib_operators(m, norms=False)).model,
    "fp16 biases fused throughout": lambda m: (
        to_half(in_contrib_operators(m, norms=False), wide=(), residual=False).model
    ),
    "fp16 biases and norms fused throughout": lambda m: (
        to_half(in_contrib_operators(m), wide=(), residual=False).model
    ),
}
"""The portable form, ONNX Runtime's own attention, and that with LayerNorm's ends in float16; then
with no bias in a pass of its own (`gpu_fusions.py`), the residual stream in float32 or float16."""
_GATE_IMAGES = 8
_LIKE = 0.9  # agreement with the reference below which a candidate is called wrong


@dataclass(frozen=True)
class Candidate:
    """One way of running the model.

    Attributes:
        name: For the table.
        make: Prepares it; what it returns takes uint8 (N, S, S, 3) BGR and gives float32 (N, D),
            both in the computer's memory.
        kind: What takes about as long to prepare.
    """

    name: str
    make: Callable[[], Embed]
    kind: str


class Served(torch.nn.Module):
    """The exported graph's model in PyTorch, in one type: normalisation is folded in as there."""

    def __init__(self, edge: EdgeModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = copy.deepcopy(edge.model).to(dtype)
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed uint8 (N, S, S, 3) BGR as (N, D)."""
        return embed_normalised(self.model, images.to(self.dtype).permute(0, 3, 1, 2)).float()


@dataclass(frozen=True)
class Subject:
    """A backbone of random weights, as PyTorch model and as bundles by precision."""

    name: str
    edge: EdgeModel
    bundles: dict[str, Bundle]
    size: int


def make_subject(name: str, folder: Path) -> tuple[Subject, list[str]]:
    """Export a backbone of random weights; what could not be made is in the second value."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    size = int(model.patch_embed.img_size[0])
    spec = PreprocessSpec(size=size, interpolation="bicubic")
    images = ExportImages(generated_scenes(_GATE_IMAGES, size), SOURCE, from_station=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    backbone = BackboneInfo(name=name, sha256="0" * 64, parameters=count)
    plain = export_bundle(
        model,
        spec,
        folder / name,
        name=name,
        backbone=backbone,
        images=images,
        settings=ExportSettings(min_cosine=0.999),
    )
    bundles, missing = {"fp32": plain}, []
    exported = to_onnx(EdgeModel(model, spec), size)
    for way, half in HALVES.items():
        try:
            bundles[way] = half_bundle(plain, half(exported), folder / f"{name}-{way}")
        except Exception as error:  # noqa: PERF203 (a benchmark reports what it could not make)
            missing.append(f"{name} {way} bundle: {type(error).__name__}: {error}")
    return Subject(name, EdgeModel(model, spec), bundles, size), missing


def half_bundle(plain: Bundle, model: bytes, path: Path) -> Bundle:
    """Write a float16 form of a bundle; its parity figures stay those of the float32 one."""
    fields = plain.manifest.model_dump(mode="json", exclude={"files"})
    cohort = (plain.path / COHORT_FILE).read_bytes()
    write_bundle(path, {**fields, "precision": "fp16"}, {MODEL_FILE: model, COHORT_FILE: cohort})
    return load_bundle(path)


def candidates(subject: Subject, device: str) -> Iterator[Candidate]:
    """Yield what runs on a device, `"cuda"` or `"cpu"`: the quickly prepared and wanted first."""
    yield from _sessions(subject, device)
    served = {
        precision: Served(subject.edge, dtype).to(device).eval()
        for precision, dtype in DTYPES.items()
    }
    for precision, model in served.items():
        yield Candidate(f"torch {precision}, eager", partial(on, model, device), "eager")
    for precision, mode in COMPILED if device == "cuda" else ():
        make = partial(on_compiled, served[precision], mode, device)
        yield Candidate(f"torch {precision}, compiled, {mode}", make, mode)


def _sessions(subject: Subject, device: str) -> Iterator[Candidate]:
    for precision, bundle in subject.bundles.items():
        for way, options in SESSIONS.items():
            if precision == "fp32" or way in ("plain", "CUDA graph"):
                make = partial(session_embed, bundle, device, options)
                yield Candidate(f"onnxruntime {precision}, {way}", make, "session")


def session_embed(bundle: Bundle, device: str, options: SessionOptions) -> Embed:
    """Open the runtime's own session."""
    return open_session(bundle, device, options=options).embed


def on_compiled(model: Served, mode: str, device: str) -> Embed:
    """Compile anew for one batch size: a mode's settings, no shape left free."""
    return on(torch.compile(model, mode=mode, dynamic=False, fullgraph=True), device)


def on(model: Any, device: str) -> Embed:
    """Return what embeds arrays by a PyTorch model, copies to and from the device included."""

    @torch.inference_mode()
    def embed(images: Image) -> Embeddings:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Embeddings = model(torch.from_numpy(images).to(device)).cpu().numpy()
        return result

    return embed


def agreement(
    embed: Embed, batches: list[Image], expected: list[Embeddings]
) -> dict[str, float | bool]:
    """Check answers to different batches, the first of them twice.

    Returns:
        The worst cosine to the reference, and whether every answer belongs to its own image: a
        graph that replays its first input fails that.
    """
    order = [*range(len(batches)), 0]
    got = [embed(batches[index]).copy() for index in order]
    cosines = [cosine(got[k], expected[index]).min() for k, index in enumerate(order)]
    strangers = cosine(got[1], expected[0]).max()
    worst = float(min(cosines))
    return {
        "min_cosine": round(worst, 6),
        "right": bool(worst > _LIKE and worst > strangers and np.isfinite(worst)),
    }


def cosine(left: Embeddings, right: Embeddings) -> np.ndarray:
    """Return the cosine of each row, float64 (N,)."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
