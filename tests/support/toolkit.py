"""What the tests of the toolkit and of the export share: tiny models, adapters and images."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from support.paths import SHARED
from vision_edge.export.model.embedder import embed_normalised
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone, random_backbone

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent")

SIZE, DEPTH, DIM = 32, 2, 64
BLOCK_LINEARS = {
    "attn.qkv": (3 * DIM, DIM),
    "attn.proj": (DIM, DIM),
    "mlp.fc1": (3 * DIM, DIM),
    "mlp.fc2": (DIM, 3 * DIM),
}
"""The linear layers of a block of `tiny_backbone`, and the shapes of their weights."""


def tiny_backbone(seed: int = 0, name: str = "test_vit", **model_args: Any) -> Backbone:
    """timm's test ViT with two blocks and four patches: 0.13 M random parameters."""
    sizes = {"img_size": SIZE, "depth": DEPTH, "embed_dim": DIM, "num_heads": 2, "mlp_ratio": 3}
    return random_backbone(name, seed, **{**sizes, **model_args})


def random_pixels(count: int = 3, size: int = SIZE, seed: int = 0) -> Tensor:
    """Normalised float32 (N, 3, S, S)."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def random_images(count: int = 3, size: int = SIZE, seed: int = 0) -> Image:
    """uint8 (N, S, S, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@torch.no_grad()
def embedding_of(model: nn.Module, pixels: Tensor) -> Tensor:
    return embed_normalised(model, pixels)


def merged_copy(backbone: Backbone, updates: Mapping[str, LowRank]) -> Backbone:
    result = copy.deepcopy(backbone)
    merge(result.model, updates)
    return Backbone(backbone.name, result.model, backbone.spec)


@dataclass(frozen=True)
class Exported:
    """A bundle and the PyTorch model that it must be equal to."""

    bundle: Bundle
    merged: Backbone


def random_low_rank(shape: tuple[int, int], rank: int, seed: int = 0, size: float = 0.1) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    out, width = shape
    A = torch.randn(rank, width, generator=generator) * size
    return LowRank(A, torch.randn(out, rank, generator=generator) * size)


def qv_updates(rank: int = 2, seed: int = 0, depth: int = DEPTH) -> dict[str, LowRank]:
    """LoRAs on query and value of every block, fused, as `tune` makes them."""
    updates = {}
    for block in range(depth):
        query = random_low_rank((DIM, DIM), rank, seed * 1000 + 2 * block)
        value = random_low_rank((DIM, DIM), rank, seed * 1000 + 2 * block + 1)
        B = torch.zeros(3 * DIM, 2 * rank)
        B[:DIM, :rank], B[2 * DIM :, rank:] = query.B, value.B
        updates[f"blocks.{block}.attn.qkv"] = LowRank(torch.cat([query.A, value.A]), B)
    return updates


def random_head(way: int = 5, seed: int = 0, dim: int = DIM) -> Head:
    generator = torch.Generator().manual_seed(seed)
    return Head(torch.randn(way, dim, generator=generator), torch.randn(way, generator=generator))


def adapter_in(
    folder: Path,
    backbone: Backbone,
    updates: Mapping[str, LowRank] | None = None,
    **options: Any,
) -> Path:
    """Write an adapter of ours into a new folder, and return the folder."""
    folder.mkdir(parents=True)
    write_adapter(folder, qv_updates() if updates is None else updates, backbone, **options)
    return folder


def hub_in(folder: Path, backbone: Backbone, count: int = 3, rank: int = 2) -> Path:
    """Write a hub of adapters `a0`, `a1`, ... with random updates and heads."""
    for index in range(count):
        updates = qv_updates(rank, seed=index + 1)
        info = {"method": "tune", "classes": [f"c{index}", "other"]}
        adapter_in(folder / f"a{index}", backbone, updates, head=random_head(2, index), info=info)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, changes: Mapping[str, Tensor | None]) -> None:
    """Replace, add or (None) remove tensors of an adapter, and keep its metadata."""
    path = folder / MODEL_FILE
    with safe_open(path, "pt") as stream:
        metadata = stream.metadata()
    tensors = {**load_file(path), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, path, metadata=metadata)


def first_factor(folder: Path, factor: str = "A") -> tuple[str, Tensor]:
    """Return the name and the values of an adapter's first lora_A or lora_B."""
    tensors = load_file(folder / MODEL_FILE)
    name = next(name for name in sorted(tensors) if f".lora_{factor}." in name)
    return name, tensors[name]


def without_hash(folder: Path) -> Path:
    """Remove our own metadata, so that an adapter looks as PEFT writes it."""
    path = folder / MODEL_FILE
    save_file(load_file(path), path, metadata={"format": "pt"})
    return folder


def weights_in(path: Path, backbone: Backbone, **metadata: Any) -> Path:
    """Write a backbone's weights as a file that knows its architecture and sizes."""
    sizes = {"img_size": SIZE, "depth": DEPTH, "embed_dim": DIM, "num_heads": 2, "mlp_ratio": 3}
    own = {"architecture": "test_vit", "model_args": sizes, **metadata}
    save_file(backbone.model.state_dict(), path, metadata={"vision_edge": json.dumps(own)})
    return path


def image_of(label: int, seed: int, size: int = 40, classes: int = 6) -> Image:
    """A noisy image whose colour and stripes are its class's: uint8 (H, W, 3), not square."""
    rng = np.random.default_rng([label, seed])
    hue = np.uint8([[[int(180 * label / classes), 220, 200]]])
    colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR).reshape(3).astype(float)
    rows, columns = np.mgrid[: size + 8, :size]
    angle = np.pi * label / classes
    phase = (np.cos(angle) * columns + np.sin(angle) * rows) / 3 + rng.uniform(0, 6)
    stripes = (0.65 + 0.35 * np.sin(phase))[:, :, None]
    noisy = colour * stripes + rng.normal(0, 18, (size + 8, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def class_folders(root: Path, classes: int = 4, count: int = 8, first: int = 0) -> Path:
    """Write `class/image.png` folders: class `k00`, `k01`, ... with `count` images each."""
    for label in range(first, first + classes):
        folder = root / f"k{label:02d}"
        folder.mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / f"{index}.png"), image_of(label, index))
    return root


@contextmanager
def refusal(error: type[VisionEdgeError], *words: object) -> Iterator[None]:
    """Expect exactly this error, with every one of these words in what it says."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    missing = [str(word) for word in words if str(word) not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"
    assert caught.value.fix, f"it does not say how to fix it: {caught.value}"


def leftovers(folder: Path) -> list[str]:
    """Names of temporary files and folders that an interrupted write left behind."""
    return [path.name for path in folder.rglob(".*")]
