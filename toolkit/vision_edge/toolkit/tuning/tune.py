"""Tuning a lora hub: many small LoRAs, each on its own random task.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220), section 5.1: rank 4 on query and
value, LoRA and head tuned with Adam at 1e-3 on random 5-way tasks. The product needs hubs that
others tuned; this makes one where there is none.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vision_edge.export.model.embedder import embed_normalised, normalise_pixels
from vision_edge.runtime.errors import DataError, VisionEdgeError
from vision_edge.runtime.system.files import atomic_file, atomic_folder
from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.data.dataset import Dataset
from vision_edge.toolkit.tuning.image_augmentation import random_crop_flip
from vision_edge.toolkit.tuning.injection import LoraQKV, inject, reset
from vision_edge.toolkit.tuning.settings import TuneSettings

HUB_FILE = "hub.json"


@dataclass(frozen=True)
class TaskResult:
    """How one task went.

    Attributes:
        name: The adapter's folder name.
        classes: The task's class names.
        loss: Mean cross-entropy over the last tenth of the steps.
        skipped: Whether it was there already.
    """

    name: str
    classes: tuple[str, ...]
    loss: float
    skipped: bool = False


def tune_hub(
    backbone: Backbone,
    data: Dataset,
    out: Path,
    settings: TuneSettings,
    *,
    device: str = "cpu",
    progress: Callable[[TaskResult], None] = lambda _: None,
) -> list[TaskResult]:
    """Tune a hub of adapters; those that are complete are kept, so it can be resumed.

    Args:
        backbone: The frozen backbone; it is copied.
        data: Labelled images.
        out: The hub's folder; one PEFT directory a task.
        settings: See `TuneSettings`.
        device: `"cpu"` or `"cuda"`; on a GPU in bfloat16 autocast.
        progress: Called after each task.

    Returns:
        One result a task.

    Raises:
        DataError: If the data have too few classes.
        VisionEdgeError: If `out` holds a hub with other settings, data or backbone, or a loss is
            not finite.
    """
    if len(data.classes) < settings.way:
        raise DataError(
            f"{data.name}: {len(data.classes)} class(es) cannot make a {settings.way}-way task",
            fix="lower --way, or give more classes",
        )
    _claim(out, backbone, data, settings)
    model = copy.deepcopy(backbone.model).to(device)
    layers = inject(model, settings.rank)
    results = []
    for index in range(settings.tasks):
        result = _tune_task(index, model, layers, backbone, data, out, settings, device)
        results.append(result)
        progress(result)
    return results


def _claim(out: Path, backbone: Backbone, data: Dataset, settings: TuneSettings) -> None:
    """Write what the hub is made of, or check that it is the same when resuming."""
    stated = {
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "preprocessing": backbone.spec.model_dump(mode="json"),
        "data": data.name,
        "classes": list(data.classes),
        "images": len(data),
        # the number of tasks may grow: the first ones stay what they are
        "settings": {k: v for k, v in asdict(settings).items() if k != "tasks"},
    }
    path = out / HUB_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise VisionEdgeError(f"{path}: not valid JSON ({error})", fix="remove it") from error
        found = found if isinstance(found, dict) else {}
        if backbone.is_known_as(found.get("backbone_sha256")):
            found["backbone_sha256"] = backbone.sha256  # written before hashes ignored the size
        differing = [key for key in stated if stated[key] != found.get(key)]
        if differing:
            raise VisionEdgeError(
                f"{out}: holds a hub tuned with another {differing[0]} "
                f"({_short(found.get(differing[0]))}, now {_short(stated[differing[0]])})",
                fix="give another --out, or the same settings to resume",
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VisionEdgeError(
            f"{out}: exists, is not empty and is no hub", fix="give another --out"
        )
    else:
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tune_task(
    index: int,
    model: nn.Module,
    layers: dict[str, LoraQKV],
    backbone: Backbone,
    data: Dataset,
    out: Path,
    settings: TuneSettings,
    device: str,
) -> TaskResult:
    rng = np.random.default_rng([settings.seed, index])
    chosen = np.sort(rng.permutation(len(data.classes))[: settings.way])
    classes = tuple(data.classes[c] for c in chosen)
    name = f"task-{index:04d}"
    if (out / name).is_dir():
        return TaskResult(name, classes, float("nan"), skipped=True)
    torch.manual_seed(int(rng.integers(2**31)))
    reset(layers)
    head = nn.Linear(backbone.dim, settings.way, device=device)
    members = data.by_class()
    indices = np.concatenate([members[c] for c in chosen])
    images = torch.from_numpy(data.prepared(backbone.spec, indices.tolist())).to(device)
    labels = np.repeat(np.arange(settings.way), [len(members[c]) for c in chosen])
    losses = _optimise(model, layers, head, images, labels, backbone, settings, rng)
    loss = float(np.mean(losses[-max(1, len(losses) // 10) :]))
    if not np.isfinite(loss):
        raise VisionEdgeError(f"{name}: the loss is not finite", fix="lower --lr")
    _save(out / name, layers, head, backbone, classes, settings, data, loss)
    return TaskResult(name, classes, loss)


def _optimise(
    model: nn.Module,
    layers: dict[str, LoraQKV],
    head: nn.Linear,
    images: Tensor,
    labels: NDArray[np.int64],
    backbone: Backbone,
    settings: TuneSettings,
    rng: np.random.Generator,
) -> list[float]:
    """Run Adam on LoRA and head; images are uint8 (N, S, S, 3), labels int64 (N,)."""
    parameters = [p for layer in layers.values() for p in (layer.A, layer.B)]
    optimiser = torch.optim.Adam([*parameters, *head.parameters()], lr=settings.lr)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    model.eval()  # no dropout is trained; rotary positions must not jitter either
    losses = []
    for _ in range(settings.steps):
        picked = _balanced(labels, settings.batch, rng)
        pixels = normalise_pixels(images[torch.from_numpy(picked).to(images.device)], backbone.spec)
        target = torch.from_numpy(labels[picked]).to(images.device)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            embeddings = embed_normalised(model, random_crop_flip(pixels, generator))
            loss = F.cross_entropy(head(embeddings).float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.detach())
    return [float(value) for value in torch.stack(losses).cpu()]


def _balanced(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices of a batch in which the classes' numbers of images differ by at most 1."""
    way = int(labels.max()) + 1
    order = rng.permutation(way)
    wanted = [order[i % way] for i in range(batch)]
    return np.array([rng.choice(np.flatnonzero(labels == label)) for label in wanted])


def _save(
    folder: Path,
    layers: dict[str, LoraQKV],
    head: nn.Linear,
    backbone: Backbone,
    classes: tuple[str, ...],
    settings: TuneSettings,
    data: Dataset,
    loss: float,
) -> None:
    info: dict[str, Any] = {
        "method": "tune",
        "classes": list(classes),
        "data": data.name,
        "settings": asdict(settings),
        "final_loss": round(loss, 6),
    }
    weights = Head(head.weight.detach().float().cpu(), head.bias.detach().float().cpu())
    updates = {module: layer.update() for module, layer in layers.items()}
    dtype = torch.float16 if settings.half else torch.float32
    with atomic_folder(folder) as temporary:
        write_adapter(temporary, updates, backbone, head=weights, info=info, dtype=dtype)
