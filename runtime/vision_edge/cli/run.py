"""`vision-edge run`: verdicts on a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, cast

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, live, modes, on_this_machine, takes_precision_hint
from vision_edge.cli.options import (
    Backend,
    Background,
    Bits,
    BundlePath,
    CameraOptions,
    CudaGraph,
    Empty,
    Exposure,
    Flip,
    FrameViewsOption,
    GalleryPath,
    PrecisionHint,
    Provider,
    Roi,
    Rotate,
    Threads,
    ViewBudget,
    presence_of,
    reading_of,
    session_options,
)
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.frame_views import Views, ViewSettings
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier
from vision_edge.runtime.pipeline.part_verdicts import PartStatistics, part_verdicts
from vision_edge.runtime.pipeline.triggers import (
    CommandTrigger,
    IntervalTrigger,
    MotionTrigger,
    PresenceTrigger,
    Trigger,
    part_settings,
)
from vision_edge.runtime.recognition.part_consensus import METHODS
from vision_edge.runtime.recognition.part_tracking import REPORTS, PartSettings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sinks.annotated import annotated_sink
from vision_edge.runtime.sinks.review_folder import ReviewSink
from vision_edge.runtime.sinks.sink import Sink, Sinks
from vision_edge.runtime.sinks.tables import CsvSink, JsonlSink, RotatingJsonlSink
from vision_edge.runtime.sources.files import ImageSource, VideoSource
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveSettings, LiveState
from vision_edge.runtime.sources.opening import open_sources
from vision_edge.runtime.sources.paced import PacedSource
from vision_edge.runtime.sources.view import ViewedSource

app = command_app()
TRIGGERS = ("presence", "motion", "interval", "command")


@app.command()
@modes(
    Only("--jsonl", lambda o: o["jsonl"] is not None, "rotate_mb"),
    Only("--trigger", lambda o: o["trigger"] is not None, "consensus", "report", "debounce"),
    Only("--trigger interval", lambda o: o["trigger"] == "interval", "interval"),
    Only("a --trigger other than interval", lambda o: o["trigger"] != "interval", "report"),
    Only("--trigger presence", lambda o: o["trigger"] == "presence", "empty"),
    Only("--views 3", lambda o: o["views"] == 3, "view_budget_ms"),
    Only("a run without --closed-set", lambda o: not o["closed_set"], "threshold", "far"),
    Only("a run without --threshold", lambda o: o["threshold"] is None, "far"),
    Only("a camera or stream", live(), "exposure", "backend", "wait", "give_up_after", "also"),
    Only("a camera or stream", live(), "max_age_ms"),
    Only("pictures, or a folder of them", lambda o: not live()(o), "bits", "background"),
    Only("a video file", lambda o: not live()(o), "realtime"),
    Only("--provider cuda", lambda o: o["provider"] in ("auto", "cuda"), "cuda_graph"),
    Only("a provider of this machine", on_this_machine, "threads"),
    Only("--provider openvino or cuda", takes_precision_hint, "precision_hint"),
)
def run(
    bundle: BundlePath,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Device index, /dev/video0, csi://0, stream, video, image, folder or glob.",
        ),
    ],
    gallery: GalleryPath,
    also: Annotated[
        list[str] | None, typer.Option("--also", help="One more camera or stream; repeatable.")
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="Write one JSON object a verdict here.")
    ] = None,
    rotate_mb: Annotated[
        float | None,
        typer.Option("--rotate-mb", min=0.001, help="Append to --jsonl, and rotate it at this."),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a table of verdicts.")] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Annotated video (.mp4, .avi), image, or folder of images."),
    ] = None,
    review: Annotated[
        Path | None, typer.Option("--review", help="Folder for pictures to review, and unknowns.")
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
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger",
            help="One verdict a part: presence (needs --empty), motion, interval, command.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.01, help="Seconds a part, with interval.")
    ] = 2.0,
    consensus: Annotated[
        str, typer.Option("--consensus", help="How a part's frames agree: mean or votes.")
    ] = "mean",
    report: Annotated[
        str,
        typer.Option(
            "--report",
            help="When a part is reported: settled (as soon as its frames agree) or leave.",
        ),
    ] = "settled",
    debounce: Annotated[
        float, typer.Option("--debounce", min=0, help="Seconds without the same part again.")
    ] = 0.0,
    empty: Empty = None,
    rotate: Rotate = 0,
    flip: Flip = "none",
    roi: Roi = None,
    exposure: Exposure = None,
    backend: Backend = "auto",
    bits: Bits = None,
    background: Background = "#ffffff",
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a video at its own rate.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a camera that does not answer yet.")
    ] = False,
    give_up_after: Annotated[
        float | None, typer.Option("--give-up-after", help="End when a camera is lost this long.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="Stop after so many verdicts.")
    ] = None,
    max_age_ms: Annotated[
        float, typer.Option("--max-age-ms", min=1, help="No verdict on a live frame older.")
    ] = 1000.0,
    views: FrameViewsOption = 1,
    view_budget_ms: ViewBudget = None,
    provider: Provider = "auto",
    threads: Threads = None,
    precision_hint: PrecisionHint = "f32",
    cuda_graph: CudaGraph = False,
) -> None:
    """Give a verdict on every frame, or every part: the product it shows, or unknown.

    Unreadable images in a folder are named, the others are judged, and the status is 1. A camera
    that is lost is connected to again, and products registered meanwhile count within a second.
    """
    camera = CameraOptions(rotate, flip, roi, exposure, backend)
    frame_views = ViewSettings(cast("Views", views), view_budget_ms)
    reading = reading_of(bits, background)
    presence = presence_of(empty, camera.view, reading) if trigger == "presence" else None
    make_trigger = None if trigger is None else _trigger(trigger, interval, presence)
    parts = _parts(consensus, report, trigger)
    settings = session_options(precision_hint, cuda_graph)
    session = open_session(load_bundle(bundle), provider, threads, settings)
    classifier = CurrentClassifier(
        gallery,
        session,
        false_accept_rate=far,
        threshold=-1.0 if closed_set else threshold,
        changed=lambda version, count: typer.echo(
            f"{gallery}: version {version}, {count} product(s) from now on", err=True
        ),
        problem=lambda error: typer.secho(
            f"the products known so far stay: {error}", err=True, fg=typer.colors.YELLOW
        ),
    )
    assert classifier.now is not None
    _introduce(session, classifier.now)
    bad: list[ImageError] = []
    live = LiveSettings(give_up_after=give_up_after, wait=wait, grabber=camera.grabber)
    plain = open_sources(
        [source, *(also or [])], lambda error: _report(error, bad), live=live, on_state=_state,
        reading=reading,
    )  # fmt: skip
    _tell_passed_over(plain)
    frames: Source = PacedSource(plain) if realtime else plain
    frames = frames if camera.view.changes_nothing else ViewedSource(frames, camera.view)
    statistics = PartStatistics()
    told: Iterator[tuple[Frame, Verdict]]
    if make_trigger is None:
        told = verdicts(
            frames, session, classifier,
            max_age_ms=max_age_ms, views=frame_views, statistics=statistics,
        )  # fmt: skip
    else:
        told = part_verdicts(
            frames, session, classifier, make_trigger, parts,
            debounce=debounce, max_age_ms=max_age_ms, views=frame_views, statistics=statistics,
        )  # fmt: skip
    tally: Counter[str] = Counter()
    try:
        with Sinks(*_sinks(jsonl, rotate_mb, csv, save, review, plain)) as sinks:
            for frame, verdict in told:
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
    _summarise(statistics, tally, plain)
    if bad:
        raise VisionEdgeError(f"{len(bad)} image(s) of {source} could not be read; see above")


def _trigger(name: str, interval: float, presence: Presence | None) -> Callable[[], Trigger]:
    """Return what makes the trigger of that name.

    Raises:
        VisionEdgeError: If there is none, or it lacks what it needs.
    """
    if name not in TRIGGERS:
        raise VisionEdgeError(f"unknown trigger {name!r}", fix=f"use one of {', '.join(TRIGGERS)}")
    if name == "motion":
        return MotionTrigger
    if name == "interval":
        return lambda: IntervalTrigger(interval)
    if name == "command":
        return CommandTrigger
    if presence is None:
        raise VisionEdgeError(
            "the trigger 'presence' must know the empty scene", fix="add --empty PICTURE"
        )
    return lambda: PresenceTrigger(presence)


def _parts(method: str, report: str, trigger: str | None) -> PartSettings:
    """Return how parts are judged and reported.

    Raises:
        VisionEdgeError: If one of the words is unknown.
    """
    if method not in METHODS:
        raise VisionEdgeError(
            f"unknown consensus {method!r}", fix=f"use one of {', '.join(METHODS)}"
        )
    if report not in REPORTS:
        raise VisionEdgeError(f"unknown report {report!r}", fix=f"use one of {', '.join(REPORTS)}")
    return part_settings(trigger, method, report)


def _state(name: str, state: LiveState, reason: str) -> None:
    typer.echo(f"{name}: {state.value}" + (f" ({reason})" if reason else ""), err=True)


def _introduce(session: Session, classifier: PrototypeClassifier) -> None:
    for note in session.notes:
        typer.echo(f"note: {note}", err=True)
    share = f"{100 * classifier.false_accept_rate:g} %"
    rule = f"unknown where over {share} of strangers would be as near"
    if classifier.threshold is not None:
        rule = f"unknown below a score of {classifier.threshold:.3f}"
    typer.echo(f"{session.name}: {len(classifier.labels)} product(s), {rule}", err=True)


def _tell_passed_over(source: Source) -> None:
    """Say what of a folder or pattern gets no verdict, and why."""
    for line in source.found.lines() if isinstance(source, ImageSource) else []:
        typer.echo(f"note: {source.name}: {line}", err=True)


def _report(error: ImageError, bad: list[ImageError]) -> None:
    bad.append(error)
    typer.secho(f"skipped: {error}", err=True, fg=typer.colors.YELLOW)


def _sinks(
    jsonl: Path | None,
    rotate_mb: float | None,
    csv: Path | None,
    save: Path | None,
    review: Path | None,
    source: Source,
) -> list[Sink]:
    sinks: list[Sink] = []
    if jsonl is not None and rotate_mb is None:
        sinks.append(JsonlSink(jsonl))
    if jsonl is not None and rotate_mb is not None:
        sinks.append(RotatingJsonlSink(jsonl, round(rotate_mb * 1e6)))
    if csv is not None:
        sinks.append(CsvSink(csv))
    if save is not None:
        images = len(source.paths) if isinstance(source, ImageSource) else None
        sinks.append(annotated_sink(save, source.fps or 10.0, images))
    if review is not None:
        sinks.append(ReviewSink(review))
    return sinks


def _line(verdict: Verdict) -> str:
    decision = verdict.decision
    margin = "" if decision.margin is None else f"  margin {decision.margin:.3f}"
    word = "review" if decision.review else "unknown"
    name = decision.label or f"{word} (nearest {decision.nearest})"
    return (
        f"{verdict.source}  #{verdict.frame}  {name}  score {decision.score:.3f}{margin}  "
        f"age {verdict.age_ms:.0f} ms"
    )


def _missed(statistics: PartStatistics) -> str:
    """Say how many parts were in view and got no verdict, and why."""
    counts = statistics.parts.values()
    missed, brief = statistics.missed, sum(one.brief for one in counts)
    late = sum(one.stale for one in counts)
    why = f" ({late} because their frames were too old)" if late else ""
    said = f"; {missed} part(s) in view were not judged once{why}" if missed else ""
    return said + (f"; {brief} too brief to be a part" if brief else "")


def _summarise(statistics: PartStatistics, tally: Counter[str], source: Source) -> None:
    seconds = max(statistics.seconds, 1e-9)
    frames = statistics.frames
    typer.echo(
        f"{frames} verdict(s) in {seconds:.1f} s, {frames / seconds:.1f} a second; "
        f"model {1000 * statistics.session_seconds / max(frames, 1):.1f} ms a verdict"
        + (f"; {statistics.stale} stale frame(s) got no verdict" if statistics.stale else "")
        + _missed(statistics),
        err=True,
    )
    if statistics.fewer_views:
        typer.echo(
            f"note: {statistics.fewer_views} frame(s) were judged by one view: three took longer "
            "than --view-budget-ms",
            err=True,
        )
    if isinstance(source, VideoSource) and source.missing:
        typer.echo(f"note: the video ends early: {source.missing} frame(s) are missing", err=True)
    for label, count in tally.most_common(12):
        typer.echo(f"  {count:6d}  {label}", err=True)
