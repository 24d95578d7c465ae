"""`vision-edge run`: verdicts on a stream."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.runtime.bundle import load_bundle
from vision_edge.runtime.cli import command_app
from vision_edge.runtime.cli.options import BundlePath, GalleryPath, Provider, Threads
from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.pipeline import RunStatistics, classifier_for, verdicts
from vision_edge.runtime.prototypes import PrototypeClassifier
from vision_edge.runtime.session import Session, open_session
from vision_edge.runtime.sinks import JsonlSink, Sink, Sinks, annotated_sink
from vision_edge.runtime.sources import ImageSource, Source, open_source
from vision_edge.runtime.verdict import Verdict

app = command_app()


@app.command()
def run(
    bundle: BundlePath,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Device index, /dev/video0, stream, video, image, folder or glob.",
        ),
    ],
    gallery: GalleryPath,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="Write one JSON object a verdict here.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Annotated video (.mp4, .avi), image, or folder of images."),
    ] = None,
    far: Annotated[
        float,
        typer.Option("--far", help="False-accept rate: share of strangers that may pass."),
    ] = 0.05,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Fixed score below which a frame is unknown, -1 to 1."),
    ] = None,
    closed_set: Annotated[
        bool, typer.Option("--closed-set", help="Never answer unknown: always the nearest.")
    ] = False,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="Stop after so many verdicts.")
    ] = None,
    max_age_ms: Annotated[
        float, typer.Option("--max-age-ms", min=1, help="No verdict on a live frame older.")
    ] = 1000.0,
    provider: Provider = "auto",
    threads: Threads = None,
) -> None:
    """Give a verdict on every frame: the product it shows, or unknown.

    Unreadable images in a folder are named, the others are judged, and the status is 1.
    """
    session = open_session(load_bundle(bundle), provider, threads)
    with Gallery(gallery, session.bundle.manifest.identity) as opened:
        classifier = classifier_for(
            opened,
            session,
            false_accept_rate=far,
            threshold=-1.0 if closed_set else threshold,
        )
    _introduce(session, classifier)
    bad: list[ImageError] = []
    frames = open_source(source, on_error=lambda error: _report(error, bad))
    statistics = RunStatistics()
    tally: Counter[str] = Counter()
    try:
        with Sinks(*_sinks(jsonl, save, frames)) as sinks:
            for frame, verdict in verdicts(
                frames, session, classifier, max_age_ms=max_age_ms, statistics=statistics
            ):
                sinks.write(frame, verdict)
                tally[verdict.decision.label or "unknown"] += 1
                if jsonl is None:
                    typer.echo(_line(verdict))
                if statistics.frames == max_frames:
                    break
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
    finally:
        frames.close()
    _summarise(statistics, tally)
    if bad:
        raise VisionEdgeError(f"{len(bad)} image(s) of {source} could not be read; see above")


def _introduce(session: Session, classifier: PrototypeClassifier) -> None:
    for note in session.notes:
        typer.echo(f"note: {note}", err=True)
    rule = (
        f"unknown where over {100 * classifier.false_accept_rate:g} % of strangers would be as near"
    )
    if classifier.threshold is not None:
        rule = f"unknown below a score of {classifier.threshold:.3f}"
    typer.echo(f"{session.name}: {len(classifier.labels)} product(s), {rule}", err=True)


def _report(error: ImageError, bad: list[ImageError]) -> None:
    bad.append(error)
    typer.secho(f"skipped: {error}", err=True, fg=typer.colors.YELLOW)


def _sinks(jsonl: Path | None, save: Path | None, source: Source) -> list[Sink]:
    sinks: list[Sink] = []
    if jsonl is not None:
        sinks.append(JsonlSink(jsonl))
    if save is not None:
        images = len(source.paths) if isinstance(source, ImageSource) else None
        sinks.append(annotated_sink(save, source.fps or 10.0, images))
    return sinks


def _line(verdict: Verdict) -> str:
    decision = verdict.decision
    margin = "" if decision.margin is None else f"  margin {decision.margin:.3f}"
    name = decision.label or f"unknown (nearest {decision.nearest})"
    return (
        f"{verdict.source}  #{verdict.frame}  {name}  score {decision.score:.3f}{margin}  "
        f"age {verdict.age_ms:.0f} ms"
    )


def _summarise(statistics: RunStatistics, tally: Counter[str]) -> None:
    seconds = max(statistics.seconds, 1e-9)
    frames = statistics.frames
    typer.echo(
        f"{frames} verdict(s) in {seconds:.1f} s, {frames / seconds:.1f} frames/s; "
        f"model {1000 * statistics.session_seconds / max(frames, 1):.1f} ms a frame"
        + (f"; {statistics.stale} stale frame(s) got no verdict" if statistics.stale else ""),
        err=True,
    )
    for label, count in tally.most_common(12):
        typer.echo(f"  {count:6d}  {label}", err=True)
