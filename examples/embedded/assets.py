"""Write and read the embedded models: safetensors files that describe themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from data import Image
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

TEACHER_NAME = "vit_tiny_patch16_224"
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Card:
    """What a weights file says about itself, under the metadata key ``vision_edge``.

    ``model_args`` are the keyword arguments of ``timm.create_model`` apart from ``num_classes``.
    """

    name: str
    architecture: str
    model_args: dict[str, Any]
    input_size: int
    trained_on: str
    parameters: int
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    license: str = "Apache-2.0"


def save_model(
    path: Path, tensors: Mapping[str, Tensor], card: Card, keep_float32: Iterable[str] = ()
) -> None:
    """Write float16 safetensors atomically; names ending in ``keep_float32`` stay float32.

    Raises:
        ValueError: a tensor is not finite in the type it is stored in.
    """
    suffixes = tuple(keep_float32)
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        if value.is_floating_point():
            keep = bool(suffixes) and name.endswith(suffixes)
            value = value.to(torch.float32 if keep else torch.float16)
        if not torch.isfinite(value).all():
            raise ValueError(f"{name}: not finite after conversion to {value.dtype}")
        stored[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(save(stored, metadata={"vision_edge": json.dumps(asdict(card))}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file as float32 tensors and its string metadata."""
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})


def load_model(path: Path) -> tuple[nn.Module, Card]:
    """Build an embedded model from its file, in evaluation mode, without a head."""
    tensors, metadata = read_file(path)
    if "vision_edge" not in metadata:
        raise ValueError(f"{path}: metadata has no key 'vision_edge'")
    card = Card(**json.loads(metadata["vision_edge"]))
    model = timm.create_model(card.architecture, num_classes=0, **card.model_args)
    model.load_state_dict(tensors)
    return model.eval(), card


def load_teacher(path: Path) -> tuple[nn.Module, Card]:
    """Build the ViT-Tiny teacher without its head; pixels are scaled to mean 0.5, std 0.5."""
    tensors, _ = read_file(path)
    model = timm.create_model(TEACHER_NAME, num_classes=0)
    model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("head.")})
    parameters = sum(p.numel() for p in model.parameters())
    return model.eval(), Card("teacher", TEACHER_NAME, {}, 224, "ImageNet-21k, -1k", parameters)


@torch.no_grad()
def embed(
    model: nn.Module, images: Image, card: Card, device: str = "cpu", batch: int = 256
) -> NDArray[np.float32]:
    """Embed RGB images, uint8 ``(N, S, S, 3)`` at model size, as float32 ``(N, D)``."""
    mean = torch.tensor(card.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(card.std, device=device).view(1, 3, 1, 1) * 255
    parts = []
    for start in range(0, len(images), batch):
        chunk = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(device)
        parts.append(model((chunk.permute(0, 3, 1, 2).float() - mean) / std).float().cpu())
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)
