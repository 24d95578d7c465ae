"""What embeds pictures: a session, or anything like it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from vision_edge.runtime.arrays import Embeddings, Image, Patches
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


@runtime_checkable
class PatchEmbedder(Embedder, Protocol):
    """An embedder that may give patches as well."""

    def embed_patches(self, images: Image) -> tuple[Embeddings, Patches | None]:
        """Embed uint8 (N, size, size, 3) BGR images as float32 (N, D), with patches (N, T, D)."""


def embed_with_patches(embedder: Embedder, images: Image) -> tuple[Embeddings, Patches | None]:
    """Embed prepared images, and return their patches where the embedder gives any.

    Args:
        embedder: A session, or anything like it.
        images: uint8 (N, size, size, 3), BGR.

    Returns:
        float32 (N, D), and float32 (N, T, D) or None.
    """
    if isinstance(embedder, PatchEmbedder):
        return embedder.embed_patches(images)
    return embedder.embed(images), None


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
