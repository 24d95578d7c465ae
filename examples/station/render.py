"""Render what the example's camera sees: a belt that stops with each part under the camera.

    python examples/station/render.py

writes `line.mp4` beside this file. The station plays it again and again. Each part comes twice, in
another pose and light, so that one can be registered and then be recognised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vision_edge.demo.conveyor import Conveyor

PARTS = ("hex_nut", "impeller", "pipe_elbow", "washer")
FPS, STEP = 10, 5
"""Frames a second of the video, and rendered frames that the belt moves on in each."""


def main(
    video: Annotated[Path | None, typer.Argument(help="Where to; ends in .mp4.")] = None,
    rest: Annotated[float, typer.Option(help="Seconds that a part lies still.", min=0.1)] = 4.0,
    parts: Annotated[str, typer.Option(help="Parts on the belt, by comma.")] = ",".join(PARTS),
    passes: Annotated[int, typer.Option(help="How often each part comes.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Poses, order and light.")] = 3,
) -> None:
    """Write VIDEO."""
    from vision_edge.demo.conveyor import Conveyor, ConveyorConfig
    from vision_edge.runtime.errors import VisionEdgeError
    from vision_edge.runtime.images.video_writer import VideoWriter

    path = video or Path(__file__).with_name("line.mp4")
    names = tuple(part.strip() for part in parts.split(",") if part.strip())
    try:
        config = ConveyorConfig(seed=seed, speed=8.0, empty_rate=0.0, hand_rate=0.0)
        line = Conveyor(config, names, passes=passes)
        writer = VideoWriter(path, FPS)
        for number, times in timetable(line, max(1, round(rest * FPS))):
            image, _ = line[number]
            for _ in range(times):
                writer.write(image)
        writer.close()
    except (ValueError, OSError, VisionEdgeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{path}: {passes} passes of {', '.join(names)}")


def timetable(line: Conveyor, still: int) -> Iterator[tuple[int, int]]:
    """Yield the line's frames to show, each with how often: `still` times with a part centred."""
    middle, speed = line.config.width / 2, line.config.speed
    centred = {round((middle + part.station) / speed) for part in line.schedule.parts}
    for number in range(len(line)):
        if number in centred:
            yield number, still
        elif number % STEP == 0:
            yield number, 1


if __name__ == "__main__":
    typer.run(main)
