"""Several adapters of one backbone in one batch.

Images of adapter g pass through the weights `W + B_g A_g`, merged beforehand; everything that no
adapter changes is shared. Merged, a group costs one batched matrix product a layer, at the full
rate of the matrix units, where separate low-rank products would each read and write the tokens
once more.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank, changed_layer
from vision_edge.toolkit.adapters.heads import Head


class GroupedLinear(nn.Module):
    """Linear layers with one weight a group and a common bias.

    Args:
        weight: (G, out, in).
        bias: (out,) or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (G * n, T, in), the groups one after another, to (G * n, T, out)."""
        groups, out, width = self.weight.shape
        y = torch.bmm(x.reshape(groups, -1, width), self.weight.transpose(1, 2))
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], out)


def merged_group(
    model: VisionTransformer, adapters: Sequence[Mapping[str, LowRank]]
) -> VisionTransformer:
    """Copy a model so that each equal share of a batch passes through one adapter.

    Args:
        model: A frozen float32 model.
        adapters: Updates by module, one mapping an adapter; G of them.

    Returns:
        A model for batches of G * n images, the first n of which belong to the first adapter.

    Raises:
        AdapterError: If an update does not fit.
    """
    result = copy.deepcopy(model)
    for updates in adapters:
        for name, update in updates.items():
            changed_layer(model, name, update)
    if len(adapters) > 1:
        for name in _touched(adapters):
            layer = _linear(result, name)
            parent, _, child = name.rpartition(".")
            weight = layer.weight.detach().expand(len(adapters), -1, -1).clone()
            setattr(result.get_submodule(parent), child, GroupedLinear(weight, layer.bias))
    load_group(result, model, adapters)
    return result.eval().requires_grad_(False)


@torch.no_grad()
def load_group(
    grouped: VisionTransformer, model: VisionTransformer, adapters: Sequence[Mapping[str, LowRank]]
) -> None:
    """Put other adapters into a model that `merged_group` made for as many, in place.

    They must change the same modules.
    """
    for name in _touched(adapters):
        layer = _linear(model, name)
        weight = torch.stack([_merged(layer, updates.get(name)) for updates in adapters])
        target = grouped.get_submodule(name).weight
        assert isinstance(target, Tensor)
        target.copy_(weight.view_as(target))


def _touched(adapters: Sequence[Mapping[str, LowRank]]) -> list[str]:
    return sorted({name for updates in adapters for name in updates})


def _linear(model: VisionTransformer, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _merged(layer: nn.Linear, update: LowRank | None) -> Tensor:
    """Return the layer's weight with an update added: W + B A."""
    weight = layer.weight.detach()
    if update is None:
        return weight
    down, up = update.A.to(weight.device), update.B.to(weight.device)
    return weight + (up @ down).to(weight)


class GroupedHead(nn.Module):
    """The classification heads of a group of adapters, all of K classes.

    Args:
        heads: One an adapter: weight float32 (K, D), bias float32 (K,) or None.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        biases = [
            head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
            for head in heads
        ]
        self.register_buffer("weight", torch.stack([head.weight for head in heads]))
        self.register_buffer("bias", torch.stack(biases)[:, None])

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings (G * n, D) to float32 logits (G, n, K)."""
        groups, _, width = self.weight.shape
        x = embedding.float().reshape(groups, -1, width)
        return torch.baddbmm(self.bias, x, self.weight.transpose(1, 2))
