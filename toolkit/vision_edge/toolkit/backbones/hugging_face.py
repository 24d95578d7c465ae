"""Names of transformers' DINOv2 and SigLIP tensors, beyond those they share with ViT and CLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCK = r"^(?:encoder\.)?layers?\.(\d+)\."
_RULES = (
    (_BLOCK + r"norm([12])\.(weight|bias)$", r"blocks.\1.norm\2.\3"),
    (_BLOCK + r"layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.(weight|bias)$", r"attn_pool.proj.\1"),
    (r"^head\.layernorm\.(weight|bias)$", r"attn_pool.norm.\1"),
    (r"^head\.mlp\.(fc[12])\.(weight|bias)$", r"attn_pool.mlp.\1.\2"),
)
_POOLED = re.compile(r"^head\.attention\.in_proj_(weight|bias)$")


def further_names(name: str, tensor: Tensor) -> dict[str, Tensor] | None:
    """Return a tensor under timm's names, or None if it is of none of these kinds.

    Args:
        name: In transformers, without prefix.
        tensor: Its values.
    """
    if match := _POOLED.match(name):  # query, key and value of SigLIP's pooling, in this order
        width = len(tensor) // 3
        return {
            f"attn_pool.q.{match[1]}": tensor[:width].float(),
            f"attn_pool.kv.{match[1]}": tensor[width:].float(),
        }
    for pattern, target in _RULES:
        if re.match(pattern, name):
            return {re.sub(pattern, target, name): tensor.float()}
    return None


def with_registers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Write a DINOv2 with registers as timm has it: [CLS] holds its position, registers none."""
    result = dict(state)
    position, cls = result.get("pos_embed"), result.get("cls_token")
    if "reg_token" not in result or position is None or cls is None or position.ndim != 3:
        return result
    result["cls_token"] = cls + position[:, :1]
    result["pos_embed"] = position[:, 1:].contiguous()
    return result
