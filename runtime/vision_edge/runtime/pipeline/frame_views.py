"""Frames like snapshots: embedded by the same crops, as far as the time allows.

A snapshot's embedding is the mean of its crops'. A frame's may be as well, for three inferences;
or the frames of one part take the crops in turns, which costs nothing; or a frame on its own takes
the one crop that is best.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.crops import FRAME_CROPS, middle
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.inference.embedder import Embedder, embed_with_patches

Views = Literal[1, 3]
VIEWS: tuple[Views, ...] = (1, 3)
BATCH = 16
"""Pictures in one inference at most."""
PAUSE = 100
"""Frames for which one view is enough after three took too long; then three are tried again."""


@dataclass(frozen=True)
class ViewSettings:
    """How many views a frame is embedded by.

    Attributes:
        views: 1, or 3 for three inferences a frame.
        budget_ms: Milliseconds that a frame's inferences may take; after a frame that took longer,
            one view must do for a while. None allows any time.
    """

    views: Views = 1
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        if self.views not in VIEWS:
            raise VisionEdgeError(
                f"a frame is embedded by 1 or 3 views; got {self.views}", fix="use 1 or 3"
            )
        if self.budget_ms is not None and self.views == 1:
            raise VisionEdgeError(
                "a budget of views was given for one view, which is what there is at least",
                fix="ask for 3 views, or leave the budget out",
            )
        if self.budget_ms is not None and not (np.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise VisionEdgeError(
                f"the budget of a frame's views must be positive milliseconds; "
                f"got {self.budget_ms}",
                fix="leave it out to allow any time",
            )


def kind_of(prepared: Image, turn: int) -> int:
    """Return which kind of views a frame has: frames of one kind can be compared with each other.

    Args:
        prepared: uint8 (V, size, size, 3), BGR.
        turn: As it was given to `FrameViews.prepared`.
    """
    return turn % len(FRAME_CROPS) if len(prepared) == 1 else len(FRAME_CROPS)


class FrameViews:
    """Prepares and embeds frames by their views; one for each line of frames.

    Args:
        settings: How many views, and how long they may take.
    """

    def __init__(self, settings: ViewSettings | None = None) -> None:
        self._settings = settings or ViewSettings()
        self._pause = 0

    @property
    def asked(self) -> int:
        """How many views a frame shall have."""
        return self._settings.views

    def prepared(self, image: Image, spec: PreprocessSpec, turn: int = 0) -> Image:
        """Prepare a frame's views.

        Args:
            image: uint8 (H, W, 3), BGR.
            spec: What the model expects.
            turn: Which of the crops, where there is one view: frames of one part take turns. The
                first is the best.

        Returns:
            uint8 (V, size, size, 3), BGR; V is 1 or 3.
        """
        shares = FRAME_CROPS if self._next() > 1 else (FRAME_CROPS[turn % len(FRAME_CROPS)],)
        return np.stack([prepare(middle(image, share), spec) for share in shares])

    def embed(
        self, embedder: Embedder, prepared: Sequence[Image]
    ) -> list[tuple[Embeddings, Patches | None]]:
        """Embed the prepared views of a frame, or of all parts in it, together.

        Args:
            embedder: A session, or anything like it.
            prepared: Each uint8 (V, size, size, 3), BGR, as `prepared` returns it.

        Returns:
            Of each the mean embedding of its views, float32 (D,), and the patches of the first,
            float32 (T, D), where the embedder gives any.
        """
        began = time.monotonic()
        each = max(1, BATCH // max((len(views) for views in prepared), default=1))
        groups = [prepared[start : start + each] for start in range(0, len(prepared), each)]
        found = [one for group in groups for one in _embedded(embedder, group)]
        budget, took = self._settings.budget_ms, 1000 * (time.monotonic() - began)
        if budget is not None and took > budget and any(len(views) > 1 for views in prepared):
            self._pause = PAUSE
        return found

    def _next(self) -> int:
        """Return how many views the next frame has."""
        if self._pause > 0:
            self._pause -= 1
            return 1
        return self._settings.views


def _embedded(
    embedder: Embedder, group: Sequence[Image]
) -> list[tuple[Embeddings, Patches | None]]:
    """Embed several sets of views in one inference."""
    embeddings, patches = embed_with_patches(embedder, np.concatenate(group))
    found: list[tuple[Embeddings, Patches | None]] = []
    start = 0
    for views in group:
        mean: Embeddings = embeddings[start : start + len(views)].mean(axis=0, dtype=np.float32)
        found.append((mean, None if patches is None else patches[start]))
        start += len(views)
    return found
