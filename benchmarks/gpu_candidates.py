"""What `gpu_sessions.py` compares: the runtime's sessions and PyTorch, each from array to array."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from vision_edge.export.embedder import embed_normalised
from vision_edge.export.graph import EdgeModel
from vision_edge.export.onnx_graph import to_onnx
from vision_edge.runtime.bundle import Bundle, Embeddings, load_bundle, write_bundle
from vision_edge.runtime.manifest import COHORT_FILE, MODEL_FILE
from vision_edge.runtime.preprocess import Image, PreprocessSpec
from vision_edge.runtime.session import open_session
from vision_edge.runtime.session_options import SessionOptions

Embed = Callable[[Image], Embeddings]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
COMPILED = (
    ("bf16", "default"),
    ("bf16", "max-autotune"),
    ("fp16", "max-autotune"),
    ("fp32", "default"),
    ("fp16", "default"),
    ("bf16", "reduce-overhead"),
    ("fp32", "max-autotune"),
    ("fp16", "reduce-overhead"),
    ("fp32", "reduce-overhead"),
)
"""Types and modes of `torch.compile`, in the order in which they are wanted if time is short."""
SESSIONS = {
    "plain": SessionOptions(),
    "IO binding": SessionOptions(io_binding=True),
    "CUDA graph": SessionOptions(cuda_graph=True),
    "tf32, CUDA graph": SessionOptions(cuda_graph=True, precision="tf32"),
}
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
    """Export a backbone of random weights; what could not be made is in the second value.

    The export's own gate is left out: every candidate is compared with PyTorch here.
    """
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    with torch.no_grad():  # biases that are all zero would become one tensor in the graph
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_(std=0.02)
    size = int(model.patch_embed.img_size[0])
    spec = PreprocessSpec(size=size, interpolation="bicubic")
    edge = EdgeModel(model, spec)
    write_bundle(folder / name, _fields(name, model, spec), _files(edge, size, model.num_features))
    plain = load_bundle(folder / name)
    bundles, missing = {"fp32": plain}, []
    try:
        bundles["fp16"] = half_bundle(plain, folder / f"{name}-fp16")
    except Exception as error:  # a benchmark reports what it could not make
        missing.append(f"{name} fp16 bundle: {type(error).__name__}: {error}")
    return Subject(name, edge, bundles, size), missing


def _fields(name: str, model: Any, spec: PreprocessSpec) -> dict[str, Any]:
    """Return a manifest without claims: nothing was compared, and nothing is scored."""
    count = sum(parameter.numel() for parameter in model.parameters())
    dim = int(model.num_features)
    nothing = {"images": 0, "image_source": "none", "min_cosine": 0.0, "mean_cosine": 0.0}
    scoring = {"cohort_source": "none", "cohort_from_station": False, "cohort_size": 1}
    return {
        "name": name,
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {},
        "backbone": {"name": name, "sha256": "0" * 64, "parameters": count},
        "adapter": None,
        "preprocessing": spec,
        "embedding_dim": dim,
        "precision": "fp32",
        "parity": nothing,
        "scoring": {"centre": [0.0] * dim, **scoring},
    }


def _files(edge: EdgeModel, size: int, dim: int) -> dict[str, bytes]:
    cohort = io.BytesIO()
    np.save(cohort, np.zeros((1, dim), np.float32), allow_pickle=False)
    return {MODEL_FILE: to_onnx(edge, size), COHORT_FILE: cohort.getvalue()}


def half_bundle(plain: Bundle, path: Path) -> Bundle:
    """Write the float16 form of a bundle; it is compared with PyTorch here as well."""
    from vision_edge.export.half import to_half

    fields = plain.manifest.model_dump(mode="json", exclude={"files"})
    cohort = (plain.path / COHORT_FILE).read_bytes()
    files = {MODEL_FILE: to_half(plain.model).model, COHORT_FILE: cohort}
    write_bundle(path, {**fields, "precision": "fp16"}, files)
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
            if precision == "fp32" or options.precision == "f32":
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
