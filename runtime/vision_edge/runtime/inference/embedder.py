"""What embeds pictures: a session, or anything like it."""

from __future__ import annotations

from typing import Protocol

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare


class Embedder(Protocol):
    """Anything that turns prepared images into embeddings.

    A `Session` is one; so is the toolkit's PyTorch backbone, which lets both be evaluated by the
    same code.
    """

    @property
    def name(self) -> str:
        """What to call it in a table."""

    @property
    def spec(self) -> PreprocessSpec:
        """How its images are prepared."""

    def embed(self, images: Image) -> Embeddings:
        """Embed uint8 (N, size, size, 3) BGR images as float32 (N, D)."""


def embed_frame(embedder: Embedder, image: Image, share: float = FRAME_CROP) -> Embeddings:
    """Prepare and embed one frame of any size, as a frame on its own is: by its middle.

    Args:
        embedder: A session, or anything like it.
        image: uint8 (H, W, 3), BGR.
        share: How much of its width and height; 1 embeds all of it.

    Returns:
        float32 (D,).
    """
    vector: Embeddings = embedder.embed(prepare(cropped(image, share), embedder.spec)[None])[0]
    return vector
