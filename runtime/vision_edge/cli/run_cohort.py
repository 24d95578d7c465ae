"""How `run` and its like collect what the camera sees, and how a person sees and clears it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.frame_collector import FrameCollector
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier

OwnFrames = Annotated[
    bool | None,
    typer.Option(
        "--cohort/--no-cohort",
        help="Let what the camera sees tell what is unknown: embeddings of its frames, no "
        "pictures, are kept in the gallery. Default: of cameras and streams, not of files.",
    ),
]


@contextmanager
def collecting(
    classifier: CurrentClassifier,
    gallery: Path,
    session: Session,
    *,
    wanted: bool | None,
    live: bool,
) -> Iterator[None]:
    """Collect what a classifier judges, for a block.

    Args:
        classifier: What judges.
        gallery: Where it is kept.
        session: What embeds.
        wanted: Whether to; None for the default.
        live: Whether it comes from a camera: pictures of a test are no station's.
    """
    if not (live if wanted is None else wanted):
        yield
        return
    collector = FrameCollector(gallery, session.bundle, problem=_not_kept)
    classifier.seen = collector.offer
    try:
        yield
    finally:
        classifier.seen = None
        collector.close()


def _not_kept(error: VisionEdgeError) -> None:
    typer.secho(
        f"what the camera sees is not kept for telling what is unknown: {error.what}",
        err=True,
        fg=typer.colors.YELLOW,
    )
