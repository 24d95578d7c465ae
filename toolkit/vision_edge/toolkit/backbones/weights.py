"""Backbone weights from a file: safetensors only, timm or Hugging Face names."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vision_edge.runtime.errors import BackboneError, VisionEdgeError
from vision_edge.runtime.images.preprocess import Triple
from vision_edge.toolkit.backbones.foreign_files import refuse_foreign
from vision_edge.toolkit.backbones.hugging_face import further_names, with_registers
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER, is_head, timm_target

METADATA_KEY = "vision_edge"

Size = Annotated[int, Field(ge=1, le=8192)]

_PLAIN = {
    "embeddings.cls_token": "cls_token",
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.position_embedding.weight": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
    "embeddings.patch_embedding.bias": "patch_embed.proj.bias",
    "pre_layrnorm.weight": "norm_pre.weight",
    "pre_layrnorm.bias": "norm_pre.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
    "post_layernorm.weight": "norm.weight",
    "post_layernorm.bias": "norm.bias",
}
_NORM = re.compile(
    r"(?:encoder\.)?layers?\.(\d+)\.(?:layernorm_|layer_norm)(before|after|1|2)\.(weight|bias)$"
)
_PREFIX = re.compile(
    r"^(?:(?:vit|deit|beit|ijepa|dinov2|dinov2_with_registers|dinov3_vit|vision_model|timm_model|model"
    r"|module|backbone|_orig_mod|state_dict|base_model)\.)+"
)
_UNUSED = (
    "pooler.",
    "visual_projection.",
    "text_model.",
    "text_projection.",
    "logit_bias",
    "embeddings.mask_token",
    "logit_scale",
    "head_dist.",
    "pre_logits.",
    "decoder.",  # of MAE in pretraining: what it makes of the encoder's tokens
)


def read_safetensors(
    path: Path, error: type[VisionEdgeError] = BackboneError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a whole safetensors file.

    Args:
        path: The file.
        error: Class of the error to raise.

    Returns:
        The tensors by name, and the file's metadata.

    Raises:
        VisionEdgeError: Of the class given, if the file is absent, truncated or corrupt.
    """
    refuse_foreign(path, error)
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return tensors, dict(stream.metadata() or {})
    except (SafetensorError, OSError, ValueError) as problem:
        raise error(
            f"{path}: truncated, corrupt or not a safetensors file ({problem})",
            fix="copy or download it again; other formats are not read",
        ) from problem


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, the same bytes for the same contents.

    The library itself writes metadata in a random order, so that hashes of equal files differ.

    Args:
        path: The file.
        tensors: By name, contiguous.
        metadata: Any text by name.
    """
    data = save(dict(tensors), dict(metadata))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


class WeightsMetadata(BaseModel):
    """What a weights file of ours says about itself, under the metadata key `vision_edge`.

    Only sizes may be set, never anything that timm would load from elsewhere.

    Attributes:
        name: What the backbone is called.
        architecture: timm's name of the model.
        model_args: Sizes to give to `timm.create_model`.
        mean: Mean per RGB channel of pixels in [0, 1].
        std: Standard deviation per RGB channel of the same.
        interpolation: Kernel for enlarging.
        crop_pct: Share of the short side that is kept.
        input_size: Side of the input in pixels, where the architecture does not fix it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    class Sizes(BaseModel):
        """Arguments of `timm.create_model` that a file may set."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        img_size: Size | None = None
        patch_size: Size | None = None
        embed_dim: Size | None = None
        depth: Size | None = None
        num_heads: Size | None = None
        mlp_ratio: float | None = None
        reg_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
        channels: tuple[int, ...] | None = None
        stem_width: int | None = None
        stem_type: str | None = None
        layers: tuple[int, ...] | None = None

    name: str | None = None
    architecture: str | None = None
    model_args: Sizes = Sizes()
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    input_size: Size | None = None

    def timm_arguments(self) -> dict[str, Any]:
        """Return the sizes that are set, by the names that timm gives them."""
        return self.model_args.model_dump(exclude_none=True)


def read_metadata(path: Path) -> WeightsMetadata:
    """Return what a weights file says about its architecture; nothing for files not of ours.

    Raises:
        BackboneError: If the file cannot be read or its own words make no sense.
    """
    refuse_foreign(path, BackboneError)
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
        return WeightsMetadata.model_validate_json(metadata.get(METADATA_KEY, "{}"))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BackboneError(
            f"{path}: the file's metadata {METADATA_KEY!r} is wrong at {where!r}: {first['msg']}",
            fix="use the file as it was published",
        ) from problem
    except (SafetensorError, OSError) as problem:
        raise BackboneError(
            f"{path}: truncated, corrupt or not a safetensors file ({problem})",
            fix="copy or download it again; other formats are not read",
        ) from problem


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a timm model's tensors without the name of what it was part of, if it was part.

    transformers' wrapper, torch.compile and trainers put a prefix before timm's own names. Beside
    the model only a head may lie: what else is there belongs to a larger one, and stays.

    Args:
        tensors: By the names of a file.
    """
    first = "patch_embed.proj.weight"
    prefixes = {name.removesuffix(first) for name in tensors if name.endswith(first)}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    beside = [n.rpartition(".")[0] for n in tensors if not n.startswith(prefix)]
    if not all(is_head(name) for name in beside):
        return dict(tensors)
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def to_timm_names(tensors: Mapping[str, Tensor], where: str = "weights") -> dict[str, Tensor]:
    """Rename a vision transformer's tensors to timm's names, without its head.

    Args:
        tensors: By their names in timm, or in Hugging Face ViT, DINOv2, CLIP or SigLIP; text
            models are left out.
        where: What to call the tensors in an error.

    Returns:
        float32 tensors by timm's names; names that are not understood are kept, so that loading
        reports them.

    Raises:
        BackboneError: If query, key and value of a block are not all there, do not fit together,
            or one tensor is there under two names.
    """
    result: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    seen: dict[str, str] = {}
    for full_name, tensor in tensors.items():
        name = _PREFIX.sub("", full_name)
        if "text_model." not in full_name:
            refuse_twice(seen, name, full_name, where)
        module, _, kind = name.rpartition(".")
        if "text_model." not in full_name and (found := further_names(name, tensor)):
            result.update(found)
            continue
        if is_head(module) or name.startswith(_UNUSED) or name.endswith("position_ids"):
            continue
        target = timm_target(module)
        if target is None:
            result[_plain_name(name)] = tensor.float()
        elif target.part is None:
            result[f"{target.module}.{kind}"] = tensor.float()
        else:
            parts.setdefault(f"{target.module}.{kind}", {})[target.part] = tensor.float()
    for name, found in parts.items():
        if name.endswith(".qkv.bias") and found.keys() == {"q", "v"}:  # BEiT and DINOv3: k has none
            stem = name.removesuffix("qkv.bias")
            result.update({f"{stem}{part}_bias": bias for part, bias in found.items()})
        else:
            result[name] = _fused(name, found, where)
    shaped = {name: _shaped(name, tensor) for name, tensor in result.items()}
    return with_registers(shaped) if "embeddings." in "".join(tensors) else shaped


def refuse_twice(seen: dict[str, str], name: str, full_name: str, where: str) -> None:
    """Raise if two of a file's tensors have one name but for what stands before it.

    A trainer's file that holds a model and its running average would else give one of the two.

    Args:
        seen: The names so far, by what is left of them; this one is added.
        name: What is left of the name.
        full_name: The name.
        where: The file, for messages.

    Raises:
        BackboneError: Naming both.
    """
    other = seen.setdefault(name, full_name)
    if other != full_name:
        raise BackboneError(
            f"{where}: holds {name!r} twice, as {other!r} and as {full_name!r}",
            fix="save one of the two models alone",
        )


def _plain_name(name: str) -> str:
    if match := _NORM.match(name):
        index = {"before": 1, "1": 1, "after": 2, "2": 2}[match[2]]
        return f"blocks.{match[1]}.norm{index}.{match[3]}"
    return _PLAIN.get(name, name)


def _fused(name: str, parts: dict[str, Tensor], where: str) -> Tensor:
    shapes = {part: tuple(tensor.shape) for part, tensor in parts.items()}
    if set(parts) != set(QKV_ORDER) or len(set(shapes.values())) > 1:
        raise BackboneError(
            f"{where}: {name}: query, key and value must all be there, of one shape; "
            f"found {shapes}",
            fix="use a complete checkpoint",
        )
    return torch.cat([parts[part] for part in QKV_ORDER])


def _shaped(name: str, tensor: Tensor) -> Tensor:
    """Give CLIP's class token (D,) and position embedding (P, D) timm's leading dimensions."""
    if name in ("cls_token", "pos_embed") and tensor.ndim in (1, 2):
        return tensor.reshape(1, -1, tensor.shape[-1])
    return tensor
