"""Names of transformers' DINOv2, DINOv3, BEiT, DeiT and SigLIP tensors, beyond those of ViT."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vision_edge.runtime.errors import BackboneError

_BLOCK = r"^(?:encoder\.)?layers?\.(\d+)\."
_RULES = (
    (_BLOCK + r"norm([12])\.(weight|bias)$", r"blocks.\1.norm\2.\3"),
    (_BLOCK + r"layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (_BLOCK + r"lambda_([12])$", r"blocks.\1.gamma_\2"),
    (
        _BLOCK + r"(?:attention\.attention\.)?relative_position_bias\.(\w+_table)$",
        r"blocks.\1.attn.\2",
    ),
    (r"^pooler\.layernorm\.(weight|bias)$", r"fc_norm.\1"),  # BEiT's; ViT's pooler is a dense layer
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.patch_embeddings\.(weight|bias)$", r"patch_embed.proj.\1"),
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


def as_model_has_them(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Name tensors as this model of timm does, where timm has several names for one thing.

    Layer scale is `ls1.gamma` in its vision transformer and `gamma_1` in EVA (so in DINOv3), and
    the first layer of a gated MLP is two. Biases of query and value that are zero, as DINOv3's
    larger models were published with, are left out for a model that has none.

    Args:
        state: By timm's names, from transformers'.
        own: The model's own tensors.
        where: What to call them in an error.

    Raises:
        BackboneError: If such a bias is not zero, and the model has no place for it.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name not in own and name.endswith((".attn.q_bias", ".attn.v_bias")):
            if tensor.any():
                raise BackboneError(
                    f"{where}: {name} is not zero, and this model has no biases of query and value",
                    fix="name the model that has them, such as vit_small_patch16_dinov3_qkvb",
                )
            continue
        found = (rename(name) for rename in (_as_gamma, _as_gated))
        result[next((other for other in found if name not in own and other in own), name)] = tensor
    return result


def _as_gamma(name: str) -> str:
    return re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", name)


def _as_gated(name: str) -> str:
    return re.sub(r"\.mlp\.fc1\.(weight|bias)$", r".mlp.fc1_x.\1", name)
