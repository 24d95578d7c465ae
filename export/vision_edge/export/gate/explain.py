"""Naming the step of a graph at which two models begin to differ."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from vision_edge.export.gate.parity import compare
from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.preprocess import PreprocessSpec


def worst_step(
    model: nn.Module, spec: PreprocessSpec, pruning: Pruning, images: Image
) -> str | None:
    """Return the step of a pruning that alone turns the embeddings most; None for a single step.

    Args:
        model: The model with all patches.
        spec: Its preprocessing.
        pruning: What is left out.
        images: uint8 (N, S, S, 3), BGR, prepared; the first few are used.
    """
    if len(pruning.steps) < 2:
        return None
    few = images[:8]
    whole = TorchEmbedder(model, spec).embed(few)

    def agreement(step: tuple[int, float]) -> float:
        alone = pruned(model, replace(pruning, steps=(step,)))
        return compare(whole, TorchEmbedder(alone, spec).embed(few)).mean_cosine

    return str(Pruning((min(pruning.steps, key=agreement),)))
