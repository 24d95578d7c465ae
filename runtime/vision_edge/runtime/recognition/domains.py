"""From one domain to another: what is common to all pictures of a kind says nothing of a product.

The embeddings of catalogue pictures share an offset (white, alone, upright) that those of a
station's own frames do not have, and the other way round. Moving one mean onto the other is the
first moment of aligning domains (Sun et al. 2016, Return of Frustratingly Easy Domain Adaptation,
aligns the second as well, for which a station has too few pictures).
"""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.arrays import Embeddings

FEW_PRODUCTS = 4.0
"""Catalogue products at which half of the shift is made: few cannot tell domain from product."""
FEW_FRAMES = 2.0
"""Own pictures at which half of the shift is made."""


def shift_between(catalogue: Embeddings, own: Embeddings) -> Embeddings:
    """Return what carries embeddings of catalogue pictures to the station's own.

    `C / (C + 4) * N / (N + 2) * (mean(own) - mean(catalogue))`; both constants chosen on train
    splits for 1 to 16 products and 1 to 100 pictures (docs/explanation/recognition-options.md).

    Args:
        catalogue: float32 (C, D), one row a product.
        own: float32 (N, D), of the station's own pictures, whatever they show.

    Returns:
        float32 (D,); zeros where either is empty.
    """
    products, frames = len(catalogue), len(own)
    if not products or not frames:
        return np.zeros(catalogue.shape[1], np.float32)
    share = products / (products + FEW_PRODUCTS) * frames / (frames + FEW_FRAMES)
    between = own.mean(axis=0, dtype=np.float64) - catalogue.mean(axis=0, dtype=np.float64)
    shift: Embeddings = (share * between).astype(np.float32)
    return shift
