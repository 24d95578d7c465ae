"""Classification heads as adapter files have them; one that is no use is noted, never refused.

An average needs no head, and LoRA Recycle needs one that is linear on the backbone's embedding. A
head of any other kind is left out with its name and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vision_edge.toolkit.backbones.timm_names import timm_target

_NAMES = frozenset(
    (
        "head", "heads", "classifier", "score", "fc", "linear_head", "classification_head",
        "cls_head", "mlp_head", "output_head", "lm_head", "head_dist", "cls_classifier",
        "distillation_classifier", "classifier_head", "lin_head",
    )
)  # fmt: skip
_SAVED = re.compile(r"\.modules_to_save(?:\.[^.]+)?(?=\.)")
_ORIGINAL = re.compile(r"\.original_module\.")
_POOLING = re.compile(
    r"(?:^|\.)(?:head\.(?:probe|attention|layernorm|mlp\.fc[12])|attn_pool\.\w+)(?:\.|$)"
)
_LORA = re.compile(r"\.(?:lora_|ia3_|hada_|lokr_|oft_|vera_|lora_magnitude)")


@dataclass(frozen=True)
class Head:
    """A linear classification head: weight float32 (K, D), bias float32 (K,) or None."""

    weight: Tensor
    bias: Tensor | None = None


def head_root(name: str) -> str | None:
    """Return the name of the head that a module or tensor belongs to, or None if to none.

    Args:
        name: Such as `classifier.out_proj.weight`: its head is `classifier`.
    """
    plain = _SAVED.sub("", f".{name}.").strip(".")
    parts = plain.split(".")
    for index, part in enumerate(parts):
        if part in _NAMES:
            root = ".".join(parts[: index + 1])
            inner = ".".join(parts[:index])
            in_block = re.search(r"(?:^|\.)(?:layers?|blocks)\.\d+(?:\.|$)", inner) is not None
            return None if in_block or timm_target(root) is not None else root
    return None


def in_pooling(name: str) -> bool:
    """Whether a module or tensor is of the attention that pools the tokens, as SigLIP's `head` is.

    Args:
        name: In transformers or timm, such as `head.mlp.fc1` or `attn_pool.kv`.
    """
    return _POOLING.search(_SAVED.sub("", f".{name}.").strip(".")) is not None


def read_head(tensors: Mapping[str, Tensor]) -> tuple[Head | None, list[str]]:
    """Return the head among tensors that all belong to one, and what a user should know.

    Args:
        tensors: By name, all of which `head_root` knows.

    Returns:
        The head, or None; and notes that name every head that cannot be used.
    """
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        plain = _SAVED.sub("", f".{name}").strip(".")
        root = head_root(name)
        if root is not None and not _ORIGINAL.search(name):
            grouped.setdefault(root, {})[plain.removeprefix(root).strip(".")] = tensor
    if len(grouped) > 1:
        names = ", ".join(repr(name) for name in grouped)
        return None, [f"has {len(grouped)} heads ({names}), none of which is used"]
    for root, parts in grouped.items():
        return _understood(root, parts)
    return None, []


def _understood(root: str, parts: Mapping[str, Tensor]) -> tuple[Head | None, list[str]]:
    """Read one head by its parts, such as `weight`, `0.bias` or `out_proj.weight`."""
    layers = {part.rpartition(".")[0] for part in parts}
    shapes = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in sorted(parts.items()))
    unused = f"its head {root!r} is not used"
    if any(_LORA.search(f".{part}") for part in parts):
        return None, [f"{unused}: it is itself a LoRA, on a head that is not in the file"]
    if len(layers) > 1:
        return None, [f"{unused}: it has {len(layers)} layers ({shapes}), and only one can be read"]
    (layer,) = layers
    kinds = {part.rpartition(".")[2]: tensor for part, tensor in parts.items()}
    weight, bias = kinds.get("weight"), kinds.get("bias")
    fits = bias is None or (weight is not None and bias.shape == weight.shape[:1])
    if weight is None or weight.ndim != 2 or not fits or kinds.keys() - {"weight", "bias"}:
        return None, [f"{unused}: {shapes} make no linear layer"]
    notes = []
    if layer.split(".")[-1].isdigit() and layer != "0":
        notes.append(
            f"its head {root!r} is the linear layer {root}.{layer}: what stands before it without "
            "weights of its own, such as an activation, is not in the file"
        )
    return Head(weight.float(), None if bias is None else bias.float()), notes


def unfit_head(head: Head, dim: int, model_class: str | None, *, alone: bool = False) -> str | None:
    """Return why a head does not go on the backbone's embedding, or None if it does.

    Args:
        head: The head.
        dim: Length D of an embedding.
        model_class: The class that the adapter was tuned on, where it says so.
        alone: Whether it takes [CLS] alone where the embedding is the mean of [CLS] and the
            distillation token.
    """
    width = head.weight.shape[1]
    if width == 2 * dim:
        return (
            f"its head takes {width} values, twice the embedding's {dim}: [CLS] beside the mean of "
            "the patches, as DINOv2's does; the head is not used"
        )
    if width != dim:
        return (
            f"its head takes embeddings of {width}, the backbone gives {dim}; the head is not used"
        )
    if alone:
        return (
            "its head takes [CLS] alone, as transformers' DeiTForImageClassification does, and the "
            "embedding is the mean of [CLS] and the distillation token; the head is not used"
        )
    kind = model_class or ""
    if re.match(r"(?:CLIP|Siglip|Siglip2)ForImageClassification$", kind):
        return (
            f"its head is a {kind}'s, which takes the mean of the patches and not the embedding; "
            "the head is not used"
        )
    return None
