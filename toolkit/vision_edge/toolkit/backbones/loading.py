"""Making a timm model for a backbone, and loading weights; nothing unsuitable gets through."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.backbones.families import unsuitable
from vision_edge.toolkit.backbones.hugging_face import as_model_has_them
from vision_edge.toolkit.backbones.original_layouts import PROJECTION
from vision_edge.toolkit.backbones.weights import to_timm_names

MAX_SIZE = 4096
_COUNTS = re.compile(r"(?:_ids|_index|_mask|_tracked)$")
"""Names of tensors that hold whole numbers because they count or choose."""


def create_model(
    name: str,
    size: int | None = None,
    *,
    pretrained: bool = False,
    classes: int = 0,
    **arguments: Any,
) -> VisionTransformer:
    """Make a timm model that can be a backbone.

    Args:
        name: timm's name, with a tag where the weights' preprocessing depends on it.
        size: Side of its input in pixels; None is its own.
        pretrained: Whether timm fetches its weights.
        classes: Outputs of its head: the width of CLIP's projection, or none.
        **arguments: Further arguments of `timm.create_model`.

    Raises:
        BackboneError: If timm has no such model or cannot make it, it is unsuitable, or the size
            does not fit its patches.
    """
    if name.split(".")[0] not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models("*vit*"), n=3)
        raise BackboneError(
            f"timm has no model {name!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see timm.list_models('vit*')",
        )
    if size is not None:
        if not 1 <= size <= MAX_SIZE:
            raise BackboneError(
                f"a size of {size} is not from 1 to {MAX_SIZE} pixels", fix="check --size"
            )
        arguments["img_size"] = size
    model = _made(name, pretrained, classes, arguments)
    reason = unsuitable(model)
    if reason is not None:
        raise BackboneError(f"{name}: {reason[0]}", fix=reason[1])
    patch = int(model.patch_embed.patch_size[0])
    if size is not None and size % patch:
        raise BackboneError(
            f"{name}: a size of {size} is not a multiple of its patches of {patch} pixels",
            fix=f"give --size {round(size / patch) * patch or patch}",
        )
    checked: VisionTransformer = model
    return checked


def _made(name: str, pretrained: bool, classes: int, arguments: dict[str, Any]) -> Any:
    if pretrained:
        _check_kind(name)  # before hundreds of megabytes are fetched
    base, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")] if tag else []
    if tag and tag not in tags:
        near = difflib.get_close_matches(tag, tags, n=3, cutoff=0.3) or tags[:3]
        raise BackboneError(
            f"timm knows no weights {tag!r} of {base}",
            fix=f"did you mean {', '.join(f'{base}.{one}' for one in near)}?"
            if near
            else f"leave the tag out: {base}",
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=classes, **arguments)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"timm could not make {name!r}: {reason}",
            fix="without access to timm's hub give --weights FILE (safetensors)"
            if pretrained
            else "check --size, and that the weights file is as it was published",
        ) from error


def _check_kind(name: str) -> None:
    """Raise if a model is unsuitable, looking at its structure alone."""
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, device="meta")
    except Exception:  # timm's own; making it in earnest says why
        return
    reason = unsuitable(model)
    if reason is not None:
        raise BackboneError(f"{name}: {reason[0]}", fix=reason[1])


def load_weights(
    model: VisionTransformer, tensors: dict[str, Tensor], path: Path, head: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Load weights strictly; only the position embedding may be of another grid.

    Args:
        model: As timm made it.
        tensors: By their names in timm or transformers.
        path: Their file, for messages.
        head: The model's head, where it has one: `head.weight` and `head.bias`.

    Returns:
        By name, what was resampled, as it was before.

    Raises:
        BackboneError: If the weights do not fit, or are not finite.
    """
    _refuse_quantised(tensors, path)
    own = model.state_dict()
    body = {name for name in own if not name.startswith(("head.", "head_dist."))}
    if body <= tensors.keys():  # timm's own names, also those that other families alone have
        state = {name: t.float() for name, t in tensors.items() if not _is_timm_head(name)}
    else:
        state = as_model_has_them(to_timm_names(tensors, str(path)), own, str(path))
    state |= head
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise BackboneError(
            f"{path}: {bad[0]} holds values that are not finite (NaN or infinity)",
            fix="use an intact checkpoint",
        )
    native: dict[str, Tensor] = {}
    if (
        "pos_embed" in state
        and "pos_embed" in own
        and state["pos_embed"].shape != own["pos_embed"].shape
    ):
        native["pos_embed"] = state["pos_embed"]
        state["pos_embed"] = _resampled(model, state["pos_embed"], path)
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        problems = ([f"{len(missing)} missing, such as {missing[0]}"] if missing else []) + (
            [f"{len(unexpected)} unknown, such as {unexpected[0]}"] if unexpected else []
        )
        raise BackboneError(
            f"{path}: the weights do not fit this model: {'; '.join(problems + shapes[:2])}",
            fix="check --backbone: name the model that these weights belong to",
        )
    model.load_state_dict(state)
    return native


def resized_notes(
    model: VisionTransformer, native: dict[str, Tensor], architecture: str
) -> list[str]:
    """Say it if positions were resampled.

    Args:
        model: With the weights.
        native: By name, what was resampled, as it was before.
        architecture: timm's name of the model.
    """
    if "pos_embed" not in native:
        return []
    count = native["pos_embed"].shape[1]
    counts = (count - model.num_prefix_tokens, count)
    side = next(math.isqrt(patches) for patches in counts if math.isqrt(patches) ** 2 == patches)
    grid, patch = int(model.patch_embed.grid_size[0]), int(model.patch_embed.patch_size[0])
    return [
        f"the weights are of {side}x{side} patches, resampled to the {grid}x{grid} of "
        f"{architecture}; --size {side * patch} is their own"
    ]


def _refuse_quantised(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise for weights of fewer than 16 bits: without their scales the numbers mean nothing."""
    for name, tensor in tensors.items():
        whole = tensor.is_floating_point() and tensor.element_size() >= 2
        if not whole and not _COUNTS.search(name):
            raise BackboneError(
                f"{path}: {name} is of {str(tensor.dtype).removeprefix('torch.')}: quantised "
                "weights, which are not read",
                fix="give the weights in float32, float16 or bfloat16",
            )


def _resampled(model: VisionTransformer, embedding: Tensor, path: Path) -> Tensor:
    prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
    patches = embedding.shape[1] - prefix if embedding.ndim == 3 else 0
    fits = embedding.shape[::2] == (1, model.embed_dim)
    if not fits or patches < 1 or math.isqrt(patches) ** 2 != patches:
        raise BackboneError(
            f"{path}: position embedding {tuple(embedding.shape)} is not one of a square grid of "
            f"patches of width {model.embed_dim}",
            fix="check --backbone",
        )
    resampled: Tensor = resample_abs_pos_embed(
        embedding,
        new_size=list(model.patch_embed.grid_size),
        num_prefix_tokens=prefix,
    )
    return resampled


def _is_timm_head(name: str) -> bool:
    return name.startswith(("head.", "head_dist.", "fc_head.", "pre_logits.", PROJECTION))
