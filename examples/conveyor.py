"""Film the rendered factory line: a video, its truth, and a registration snapshot of every part.

    python examples/conveyor.py line.mp4 --seconds 20 --seed 0
    python examples/conveyor.py line.mp4 --strangers impeller,o_ring --snapshots snapshots/

Strangers ride on the belt like the others, but get no snapshot: to a station that registers the
snapshots they are unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vision_edge.demo.conveyor import ConveyorConfig


def main(
    video: Annotated[Path, typer.Argument(help="Where to write the video; ends in .mp4.")],
    seconds: Annotated[float, typer.Option(help="Length of the video.", min=0.1)] = 20.0,
    seed: Annotated[int, typer.Option(help="Order, poses, light, hands and noise.")] = 0,
    parts: Annotated[str, typer.Option(help="Known parts, by comma; all but strangers.")] = "",
    strangers: Annotated[str, typer.Option(help="Unknown parts on the belt, by comma.")] = "",
    snapshots: Annotated[Path | None, typer.Option(help="Folder for one PNG a part.")] = None,
    width: Annotated[int, typer.Option(help="Frame width in pixels.")] = 640,
    height: Annotated[int, typer.Option(help="Frame height in pixels.")] = 480,
    speed: Annotated[float, typer.Option(help="Belt travel in pixels a frame.")] = 6.0,
) -> None:
    """Write VIDEO and, beside it, VIDEO.truth.jsonl with one object a frame."""
    from vision_edge.demo import conveyor as demo
    from vision_edge.runtime.errors import VisionEdgeError

    unknown = _names(strangers)
    known = _names(parts) or tuple(name for name in demo.PART_NAMES if name not in unknown)
    try:
        config = demo.ConveyorConfig(seed=seed, width=width, height=height, speed=speed)
        line = demo.Conveyor(config, (*known, *unknown), length=max(1, round(seconds * config.fps)))
        truth = demo.write_video(video, line)
        if snapshots is not None:
            _write_snapshots(snapshots, known, config)
    except (ValueError, OSError, VisionEdgeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{video}: {len(line)} rendered frames, truth in {truth}")


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _write_snapshots(folder: Path, parts: tuple[str, ...], config: ConveyorConfig) -> None:
    """Write `<part>.png` for every part: the inspection window as an operator would see it."""
    import cv2

    from vision_edge.demo.conveyor import render_snapshot

    folder.mkdir(parents=True, exist_ok=True)
    for label in parts:
        crop, _ = render_snapshot(label, config.seed, config)
        if not cv2.imwrite(str(folder / f"{label}.png"), crop):
            raise OSError(f"OpenCV could not write {folder / label}.png; is the folder writable?")


if __name__ == "__main__":
    typer.run(main)
