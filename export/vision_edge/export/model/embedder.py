"""The PyTorch model as an embedder: the reference that every export is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from vision_edge.export.model.pruning import patches_left, pruned_embedding
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.preprocess import PreprocessSpec


def embed_normalised(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return the embedding: what timm pools of a model without its classifier.

    Which that is for each family (the [CLS] output after the final norm, the mean of the patches,
    attention pooling), and why, says `toolkit.backbones.families`. Where the backbone kept CLIP's
    projection, it is the model's head and applied.

    Args:
        model: A timm vision transformer.
        pixels: float (N, 3, S, S), RGB, normalised.

    Returns:
        (N, D) of the model's dtype.
    """
    if patches_left(model):
        return pruned_embedding(model, pixels)
    embedding: Tensor = model(pixels)
    return embedding


def normalise_pixels(images: Tensor, spec: PreprocessSpec) -> Tensor:
    """Turn uint8 (N, S, S, 3) BGR into normalised float32 (N, 3, S, S) RGB, on the same device."""
    mean = torch.tensor(spec.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=images.device).view(1, 3, 1, 1)
    rgb = images.flip(-1).permute(0, 3, 1, 2).float() / 255.0
    return (rgb - mean) / std


@dataclass
class TorchEmbedder:
    """Embeds with PyTorch; takes the place of a `Session` wherever an embedder is asked for.

    Attributes:
        model: A timm vision transformer in evaluation mode.
        spec: How its images are prepared.
        name: What to call it in a table.
        batch: Images a forward pass.
    """

    model: nn.Module
    spec: PreprocessSpec
    name: str = "torch"
    batch: int = field(default=64, kw_only=True)

    @torch.inference_mode()
    def embed(self, images: Image) -> Embeddings:
        """Embed prepared images: uint8 (N, S, S, 3) BGR to float32 (N, D)."""
        device = next(self.model.parameters()).device
        parts = []
        for start in range(0, len(images), self.batch):
            chunk = torch.from_numpy(images[start : start + self.batch]).to(device)
            embedding = embed_normalised(self.model, normalise_pixels(chunk, self.spec))
            parts.append(embedding.float().cpu().numpy())
        embeddings: Embeddings = np.concatenate(parts)
        return embeddings
