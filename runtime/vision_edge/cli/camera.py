"""`vision-edge camera`: meters for who sets up a camera."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Only
from vision_edge.cli.fired_sources import refuse_fired
from vision_edge.cli.grouped_command import command
from vision_edge.cli.options import GRABBER, LIVE, READING, VIEW, presence_of
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.pipeline.camera_check import CameraCheck, CameraReport
from vision_edge.runtime.sources.frame import Source
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source
from vision_edge.runtime.sources.view import View, ViewedSource

app = command_app()
_EVERY_S = 0.5
_RATE = 25.0
"""Frames a second of pictures, which have no rate."""
_SIGNS = {"good": "ok ", "fair": "!  ", "bad": "!! "}


@command(app)
def camera(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Device index, /dev/video0, csi://0, stream, video, image, folder or glob.",
        ),
    ],
    view: Annotated[View, VIEW],
    grabber: Annotated[GrabberOptions, GRABBER],
    reading: Annotated[Reading, READING],
    empty: Annotated[
        Path | None,
        typer.Option("--empty", help="Picture of the empty scene: size and speed are told too."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, help="End after so long; default: never."),
        Only(LIVE),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Measure once (a camera: 3 s), and print JSON.")
    ] = False,
) -> None:
    """Show focus, light, smear, the part's size and the frames of a passage, with advice.

    A camera is shown until you press Ctrl+C; a file is measured to its end.
    """
    refuse_fired(source)
    check = CameraCheck(presence_of(empty, view, reading))
    plain = open_source(source, live=LiveSettings(grabber=grabber), reading=reading)
    frames: Source = plain if view.changes_nothing else ViewedSource(plain, view)
    limit = seconds if seconds is not None else (3.0 if as_json and frames.live else None)
    try:
        report = _measured(frames, check, limit, live_text=not as_json)
    except KeyboardInterrupt:
        report = check.report()
    finally:
        frames.close()
    if report is None:
        raise SourceError(f"{source}: no frame came", fix="check the camera: vision-edge doctor")
    typer.echo(json.dumps(report.document(), indent=1) if as_json else _text(report))


def _measured(
    frames: Source, check: CameraCheck, limit: float | None, *, live_text: bool
) -> CameraReport | None:
    """Look at frames until they end, or the time is over."""
    began = shown = time.monotonic()
    for frame in frames:
        check.look(frame, None if frames.live else frame.number / (frames.fps or _RATE))
        now = time.monotonic()
        if live_text and frames.live and now - shown >= _EVERY_S:
            shown = now
            _show(check.report())
        if limit is not None and now - began >= limit:
            break
    return check.report()


def _show(report: CameraReport | None) -> None:
    """Show the meters in place on a terminal, and one line at a time elsewhere."""
    if report is None:
        return
    if sys.stdout.isatty():
        typer.echo("\033[H\033[J" + _text(report))
    else:
        typer.echo(" | ".join(one.message for one in report.advice))


def _text(report: CameraReport) -> str:
    rate = "" if report.rate is None else f", {report.rate:.1f} frames a second"
    lines = [f"{report.width}x{report.height}{rate}, {report.frames} frame(s)"]
    meter = "#" * round(30 * min(1.0, report.meters.sharpness))
    lines.append(f"focus   [{meter:<30}] {report.meters.sharpness:.2f} (best {report.best:.2f})")
    lines += [
        f"{_SIGNS[one.level]} {one.about:<8}{one.message}" + (f"; {one.fix}" if one.fix else "")
        for one in report.advice
    ]
    return "\n".join(lines)
