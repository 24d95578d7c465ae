"""Weights by the names of those who trained them: open_clip's and OpenAI's CLIP, DINOv2, MAE.

Between the libraries that most take weights from (timm, transformers) and the papers' own code the
same tensors have other names. What a file is of is told by names that no other library uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.backbones.hugging_face import with_registers

PROJECTION = "visual_projection.weight"
"""CLIP's projection, (P, D), as transformers calls it."""
_TOWER = re.compile(r"^(?:module\.)?visual\.(?=class_embedding$)")
_TRUNK = re.compile(r"^(?:module\.)?visual\.trunk\.(?=patch_embed\.proj\.weight$)")
_CLIP = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.ls_([12])\.gamma$", r".ls\1.gamma"),
)
_DINOV2 = ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
_TRAINING = re.compile(r"^(?:mask_token$|decoder_(?:blocks|embed|norm|pos_embed|pred)\b)")
"""Of timm's names, and used in pretraining alone: what stands for hidden patches, MAE's decoder."""


def by_common_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return tensors by timm's names where they are by their authors'; all others as they are.

    Of a CLIP model the text tower is left out.

    Args:
        tensors: By the names of a file.
        where: The file, for messages.

    Raises:
        BackboneError: If they are in DINOv3's own layout.
    """
    if "storage_tokens" in tensors:
        raise BackboneError(
            f"{where}: weights in the layout of DINOv3's own code (storage_tokens), which is not "
            "read",
            fix="give transformers' or timm's file of the model, such as "
            "timm/vit_small_patch16_dinov3.lvd1689m",
        )
    for marker, read in ((_TOWER, _clip), (_TRUNK, _trunk)):
        prefix = next((match[0] for name in tensors if (match := marker.match(name))), None)
        if prefix is not None:
            inner = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            return read(inner, tensors, prefix)
    if "patch_embed.proj.weight" in tensors:
        return _without_training(tensors)
    return dict(tensors)


def _clip(inner: Mapping[str, Tensor], _: Mapping[str, Tensor], __: str) -> dict[str, Tensor]:
    named = {_renamed(name, _CLIP): tensor for name, tensor in inner.items() if name != "proj"}
    for name in ("cls_token", "pos_embed"):
        if name in named and named[name].ndim in (1, 2):
            named[name] = named[name].reshape(1, -1, named[name].shape[-1])
    if "proj" in inner and inner["proj"].ndim == 2:
        named[PROJECTION] = inner["proj"].T.contiguous()
    return named


def _trunk(
    inner: Mapping[str, Tensor], whole: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """Name a timm model within open_clip's tower; what else is in the tower stays unknown."""
    tower = prefix.removesuffix("trunk.")
    beside = {
        name: tensor
        for name, tensor in whole.items()
        if name.startswith(tower) and not name.startswith(prefix)
    }
    if beside.keys() == {f"{tower}head.proj.weight"}:
        beside = {PROJECTION: beside[f"{tower}head.proj.weight"]}
    return {**inner, **beside}


def _without_training(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in tensors.items() if not _TRAINING.match(name)}
    if "register_tokens" not in kept:
        return {_renamed(name, _DINOV2): tensor for name, tensor in kept.items()}
    kept["reg_token"] = kept.pop("register_tokens")
    return with_registers({_renamed(name, _DINOV2): tensor for name, tensor in kept.items()})


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
