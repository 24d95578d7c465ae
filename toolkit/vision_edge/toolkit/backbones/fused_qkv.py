"""One form of attention for all backbones: query, key and value in one linear layer with a bias.

timm keeps them apart in EVA-02, and in EVA, DINOv3 and BEiT adds their biases by hand, past any
layer that takes `qkv`'s place. Fused, every backbone has the layer `blocks.N.attn.qkv` that
adapters change; the function is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def fuse_qkv(model: Any) -> bool:
    """Fuse query, key and value of every block, in place.

    Args:
        model: A timm vision transformer that is suitable.

    Returns:
        Whether they were apart.
    """
    apart = False
    for block in model.blocks:
        attention = block.attn
        if attention.qkv is None:
            parts = [attention.q_proj, attention.k_proj, attention.v_proj]
            weight = torch.cat([part.weight for part in parts])
            attention.qkv = _linear(weight, _joined([part.bias for part in parts]))
            attention.q_proj = attention.k_proj = attention.v_proj = None
            apart = True
        elif getattr(attention, "q_bias", None) is not None:
            bias = _joined([attention.q_bias, attention.k_bias, attention.v_bias])
            attention.qkv = _linear(attention.qkv.weight, bias)
            attention.q_bias = attention.k_bias = attention.v_bias = None
    return apart


def _joined(biases: list[Tensor | None]) -> Tensor | None:
    """Put biases one after the other; one that is not there is zero."""
    there = next((bias for bias in biases if bias is not None), None)
    if there is None:
        return None
    return torch.cat([torch.zeros_like(there) if bias is None else bias for bias in biases])


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    out, width = weight.shape
    layer = nn.Linear(width, out, bias=bias is not None, device=weight.device, dtype=weight.dtype)
    layer.requires_grad_(weight.requires_grad)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
