"""Names of one module in different libraries, mapped onto timm's.

Hugging Face ViT and CLIP-vision (both the names of their files and those of transformers 5 in
memory) keep query, key and value apart; timm's vision transformer fuses them into `attn.qkv`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

QKV_ORDER = {"q": 0, "k": 1, "v": 2}
"""Which third of the fused `qkv` rows belongs to which projection."""

_LAYER = r"(?P<before>(?:.*\.)?)(?:layers?|blocks)\.(?P<block>\d+)\."
_OTHER_PARTS = re.compile(
    r"(?:^|\.)(?P<part>text|textual|text_(?:model|encoder|decoder|tower|transformer)|bert|roberta"
    r"|language_(?:model|projection)|llm|decoder|predictor|q_?former|audio(?:_\w+)?|encodec"
    r"|(?:layers?|blocks|stages?)\.\d+)\."
)
"""Parts of larger models that are no image tower, and stages of models that have several."""
_RULES: tuple[tuple[str, str, str | None], ...] = (
    (r"attn\.qkv", "attn.qkv", None),
    (r"attn\.(?P<part>[qkv])_proj", "attn.qkv", "part"),
    (r"attn\.proj", "attn.proj", None),
    (r"mlp\.(?P<fc>fc1(?:_[gx])?|fc2)", "mlp.{fc}", None),
    (r"mlp\.gate_proj", "mlp.fc1_g", None),  # of DINOv3's gated MLPs; without a gate, up is fc1
    (r"mlp\.up_proj", "mlp.fc1", None),
    (r"mlp\.down_proj", "mlp.fc2", None),
    (r"attention\.attention\.(?P<part>query|key|value)", "attn.qkv", "part"),
    (r"attention\.(?P<part>[qkv])_proj", "attn.qkv", "part"),
    (r"self_attn\.(?P<part>[qkv])_proj", "attn.qkv", "part"),
    (r"attention\.output\.dense", "attn.proj", None),
    (r"attention\.o_proj", "attn.proj", None),
    (r"self_attn\.out_proj", "attn.proj", None),
    (r"mlp\.weights_in", "mlp.fc1", None),
    (r"mlp\.weights_out", "mlp.fc2", None),
    (r"intermediate\.dense", "mlp.fc1", None),
    (r"output\.dense", "mlp.fc2", None),
)
_COMPILED = tuple(
    (re.compile(_LAYER + pattern + "$"), target, part) for pattern, target, part in _RULES
)


@dataclass(frozen=True)
class Target:
    """A linear layer of timm's vision transformer, or a third of its fused `qkv`.

    Attributes:
        module: The timm module's name, such as `blocks.3.attn.qkv`.
        part: `"q"`, `"k"` or `"v"` where the source keeps them apart, else None.
    """

    module: str
    part: str | None = None


def timm_target(name: str) -> Target | None:
    """Map a transformer layer's linear module to timm's name for it.

    Args:
        name: The module's name in timm, Hugging Face ViT, DINOv2 or CLIP-vision.

    Returns:
        The target, or None if the name is none of a transformer block's linear layers, or one of
        another part than the image's (see `other_part`).
    """
    for pattern, target, part in _COMPILED:
        if match := pattern.match(name):
            if _OTHER_PARTS.search(match["before"]):
                return None
            groups = match.groupdict()
            module = f"blocks.{match['block']}.{target.format(**groups)}"
            return Target(module, match[part][0] if part else None)
    return None


def other_part(name: str) -> str | None:
    """Return the part of a larger model that a module belongs to, where that is no image tower.

    Text towers, decoders and the stages of a Swin have blocks of the same shape and names.

    Args:
        name: Such as `language_model.layers.0.self_attn.q_proj`, of which it is `language_model`.
    """
    for pattern, _, _ in _COMPILED:
        if (match := pattern.match(name)) and (found := _OTHER_PARTS.search(match["before"])):
            return found["part"]
    return None


_HEADS = ("head", "classifier", "fc", "score")


def is_head(name: str) -> bool:
    """Whether a module's name is that of a classification head."""
    return name.rpartition(".")[2] in _HEADS and timm_target(name) is None
