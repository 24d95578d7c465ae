"""`vision-edge run`: verdicts on a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Only, absent
from vision_edge.cli.fired_sources import refuse_fired
from vision_edge.cli.grouped_command import command
from vision_edge.cli.locating import BY_PRESENCE, RUN_DETECTOR, locator_of
from vision_edge.cli.options import (
    FOLDER,
    GRABBER,
    LIVE,
    READING,
    SESSION,
    VIDEO,
    VIEW,
    VIEWS,
    BundlePath,
    GalleryPath,
    Provider,
)
from vision_edge.cli.provenance_options import TRUSTING, Trusting, taken
from vision_edge.cli.run_cohort import OwnFrames, collecting
from vision_edge.cli.run_options import ACCEPTANCE, AGE, CAMERA, INTERVAL, PART, REPEATS
from vision_edge.cli.run_sinks import SINKS, SinkOptions
from vision_edge.cli.run_summary import Told, summarise, write_counts
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.detector import DetectorSettings
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.frame_views import ViewSettings
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier
from vision_edge.runtime.pipeline.located_verdicts import located_verdicts
from vision_edge.runtime.pipeline.part_verdicts import PartStatistics, part_verdicts
from vision_edge.runtime.pipeline.triggers import (
    CommandTrigger,
    IntervalTrigger,
    LocatedTrigger,
    MotionTrigger,
    PresenceTrigger,
    Trigger,
    part_settings,
)
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sinks.annotated import VideoSink
from vision_edge.runtime.sinks.sink import Sinks
from vision_edge.runtime.sources.files import ImageSource
from vision_edge.runtime.sources.followed import FollowedFolder
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings, LiveState
from vision_edge.runtime.sources.opening import open_sources
from vision_edge.runtime.sources.paced import PacedSource
from vision_edge.runtime.sources.tapped import TappedSource
from vision_edge.runtime.sources.view import View, ViewedSource

app = command_app()
WHY = {
    "far": "unlike it",
    "between": "neither like nor unlike it",
    "other": "nearer to another product",
    "twice": "two products hold this very picture",
    "negative": "like a picture that is not it",
    "not-registered": "the expected product is not registered",
}
TRIGGERS = ("presence", "motion", "interval", "command")


@command(app)
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
    sinks: Annotated[SinkOptions, SINKS],
    acceptance: Annotated[Given[CurrentClassifier], ACCEPTANCE],
    interval: Annotated[Given[IntervalTrigger], INTERVAL],
    part: Annotated[PartSettings, PART],
    repeats: Annotated[Given[Any], REPEATS],
    detector: Annotated[Given[DetectorSettings], RUN_DETECTOR],
    age: Annotated[Given[Any], AGE],
    views: Annotated[ViewSettings, VIEWS],
    view: Annotated[View, VIEW],
    grabber: Annotated[GrabberOptions, GRABBER],
    camera: Annotated[Given[LiveSettings], CAMERA],
    reading: Annotated[Reading, READING],
    session: Annotated[SessionOptions, SESSION],
    trusting: Annotated[Trusting, TRUSTING],
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="One more camera or stream; repeatable."),
        Only(LIVE),
    ] = None,
    closed_set: Annotated[
        bool, typer.Option("--closed-set", help="Never answer unknown: always the nearest.")
    ] = False,
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger",
            help="One verdict a part: presence (what is located), motion, interval, command.",
        ),
    ] = None,
    locate: Annotated[
        str | None,
        typer.Option(
            "--locate",
            help="Where parts are: whole (the picture is one), presence (needs --empty) or "
            "detector (needs --detector).",
        ),
    ] = None,
    empty: Annotated[
        Path | None,
        typer.Option("--empty", help="Picture of the empty scene: parts are found and cut out."),
        Only(BY_PRESENCE),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on with pictures that come into the folder."),
        Only(FOLDER, absent("trigger", "a run without --trigger")),
    ] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a video at its own rate."), Only(VIDEO)
    ] = False,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="Stop after so many verdicts.")
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option("--counts", help="Write how many there were of each product, as JSON."),
    ] = None,
    cohort: OwnFrames = None,
    provider: Provider = "auto",
) -> None:
    """Give a verdict on every frame, or every part: the product it shows, or unknown.

    With --expect NAME each verdict also says whether it is that product: right, wrong or unsure.

    Unreadable images in a folder are named, the others are judged, and the status is 1. A camera
    that is lost is connected to again, and products registered meanwhile count within a second.
    """
    refuse_fired(source, *(also or []))
    live = camera.made(grabber=grabber)
    make_locator = locator_of(locate, trigger, empty, detector, view, reading)
    make_trigger = None if trigger is None else _trigger(trigger, interval, make_locator)
    provenance = trusting.provenance(gallery, held=1)
    loaded = load_bundle(bundle, provenance)
    opened = open_session(loaded, provider, options=session)
    taken(provenance, loaded.signed)
    classifier = _classifier(gallery, opened, acceptance, closed_set, cohort is not False)
    bad: list[ImageError] = []
    plain: Source
    if follow:
        plain = FollowedFolder(Path(source), lambda error: _report(error, bad), reading)
    else:
        plain = open_sources(
            [source, *(also or [])],
            lambda error: _report(error, bad),
            live=live,
            on_state=_state,
            reading=reading,
        )
    _tell_passed_over(plain)
    paced: Source = PacedSource(plain) if realtime else plain
    frames = TappedSource(paced if view.changes_nothing else ViewedSource(paced, view))
    statistics = PartStatistics()
    told: Iterator[tuple[Frame, Verdict]]
    if make_trigger is None and make_locator is not None:
        told = located_verdicts(
            frames,
            opened,
            classifier,
            make_locator,
            views=views,
            statistics=statistics,
            **age.values,
        )
    elif make_trigger is None:
        told = verdicts(
            frames, opened, classifier, views=views, statistics=statistics, **age.values
        )
    else:
        told = part_verdicts(
            frames,
            opened,
            classifier,
            make_trigger,
            part_settings(trigger, part.method, part.report),
            views=views,
            statistics=statistics,
            **repeats.values,
            **age.values,
        )
    limit = _Limit(statistics, max_frames)
    with collecting(classifier, gallery, opened, wanted=cohort, live=plain.live):
        by_part = make_trigger is not None
        tally, answers = _written(told, sinks, plain, limit, frames, by_part=by_part)
    summarise(statistics, tally, plain, answers)
    if counts is not None:
        write_counts(counts, statistics, tally, plain)
    if bad:
        raise VisionEdgeError(f"{len(bad)} image(s) of {source} could not be read; see above")


def _classifier(
    gallery: Path,
    session: Session,
    acceptance: Given[CurrentClassifier],
    closed_set: bool,
    own_frames: bool,
) -> CurrentClassifier:
    """Return what classifies by the gallery as it is at any time, and introduce it."""
    made: list[CurrentClassifier] = []
    classifier = CurrentClassifier(
        gallery,
        session,
        own_frames=own_frames,
        changed=lambda version, count: _changed(made[0], gallery, version, count),
        problem=lambda error: typer.secho(
            f"the products known so far stay: {error}", err=True, fg=typer.colors.YELLOW
        ),
        **{**acceptance.values, **({"threshold": -1.0} if closed_set else {})},
    )
    made.append(classifier)
    assert classifier.now is not None
    _introduce(session, classifier.now)
    if classifier.expected is not None:
        typer.echo(f"every part should be {classifier.expected!r}", err=True)
    return classifier


@dataclass(frozen=True)
class _Limit:
    """When a run has given verdicts enough."""

    statistics: PartStatistics
    most: int | None

    def reached(self) -> bool:
        return self.statistics.frames == self.most


def _written(
    told: Iterator[tuple[Frame, Verdict]],
    options: SinkOptions,
    source: Source,
    limit: _Limit,
    frames: TappedSource,
    *,
    by_part: bool,
) -> tuple[Told, Counter[str]]:
    """Write every verdict; return how often each product or band and each answer came."""
    tally: Told = Counter()
    answers: Counter[str] = Counter()
    try:
        opened = options.opened(source)
        for sink in opened:
            if by_part and isinstance(sink, VideoSink):  # the film, not a frame a part
                frames.tap = sink.show
        with Sinks(*opened) as sinks:
            for frame, verdict in told:
                sinks.write(frame, verdict)
                asked = verdict.verification
                tally[verdict.decision.band, verdict.decision.label] += 1
                if asked is not None:
                    answers[asked.answer] += 1
                if options.jsonl is None:
                    typer.echo(_line(verdict))
                if limit.reached():
                    break
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
    finally:
        frames.close()
    return tally, answers


def _trigger(
    name: str, interval: Given[IntervalTrigger], make_locator: Callable[[], Locator] | None
) -> Callable[[], Trigger]:
    """Return what makes the trigger of that name, for the located parts where there are any.

    Raises:
        VisionEdgeError: If there is none.
    """
    if name not in TRIGGERS:
        raise VisionEdgeError(
            f"--trigger {name!r} is unknown", fix=f"use one of {', '.join(TRIGGERS)}"
        )
    makers: dict[str, Callable[[], Trigger]] = {
        "motion": MotionTrigger,
        "interval": interval.made,
        "command": CommandTrigger,
    }
    if make_locator is None:
        return makers[name]
    if name == "presence":
        return lambda: PresenceTrigger(make_locator())
    return partial(_located, makers[name], make_locator)


def _located(make: Callable[[], Trigger], make_locator: Callable[[], Locator]) -> LocatedTrigger:
    return LocatedTrigger(make(), make_locator())


def _state(name: str, state: LiveState, reason: str) -> None:
    typer.echo(f"{name}: {state.value}" + (f" ({reason})" if reason else ""), err=True)


def _changed(classifier: CurrentClassifier, gallery: Path, version: int, count: int) -> None:
    """Say that the gallery has changed, and where the expected product is gone with that."""
    typer.echo(f"{gallery}: version {version}, {count} product(s) from now on", err=True)
    expected = classifier.expected
    if expected is None:
        return
    if classifier.now is None or expected not in classifier.now.labels:
        typer.secho(
            f"{expected!r} is expected and not registered any more: every part is unsure",
            err=True,
            fg=typer.colors.YELLOW,
        )


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


def _line(verdict: Verdict) -> str:
    decision = verdict.decision
    margin = "" if decision.margin is None else f"  margin {decision.margin:.3f}"
    word = "review" if decision.review else "unknown"
    name = decision.label or f"{word} (nearest {decision.nearest})"
    asked = verdict.verification
    if asked is not None:
        why = f" ({WHY[asked.reason]})" if asked.reason else ""
        name = f"{asked.answer.upper()}{why}  {name}"
    if len(verdict.parts) > 1:
        said = ", ".join(
            f"{p.decision.label or 'unknown'} {p.decision.score:.3f}"
            for p in verdict.parts
            if p.decision is not None
        )
        return f"{verdict.source}  #{verdict.frame}  {len(verdict.parts)} parts: {said}"
    return (
        f"{verdict.source}  #{verdict.frame}  {name}  score {decision.score:.3f}{margin}  "
        f"age {verdict.age_ms:.0f} ms"
    )
