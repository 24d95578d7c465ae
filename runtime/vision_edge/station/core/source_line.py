"""A source line: one source in a thread of its own, from its frames to its verdicts.

A source that cannot be opened, or fails, is tried again; a file ends, or starts anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.part_outlines import area
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.inference.detector import Detector
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.located_verdicts import located_verdicts
from vision_edge.runtime.pipeline.part_verdicts import PartStatistics, part_verdicts
from vision_edge.runtime.pipeline.triggers import (
    IntervalTrigger,
    LocatedTrigger,
    MotionTrigger,
    PresenceTrigger,
    Trigger,
    part_settings,
)
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveState
from vision_edge.runtime.system.backoff import Backoff
from vision_edge.runtime.system.native_threads import NativeThread
from vision_edge.station.core.answers import Answers, Ask
from vision_edge.station.core.discretion import without_folders
from vision_edge.station.core.expectations import Expected
from vision_edge.station.core.feeds import Gate, camera_of, opened
from vision_edge.station.core.fired import FiredTrigger, bound, fire, fired_parts
from vision_edge.station.core.live_model import Expecting, Model
from vision_edge.station.core.part_views import PartViews
from vision_edge.station.core.request_trigger import RequestTrigger
from vision_edge.station.core.scene_guard import SceneGuard
from vision_edge.station.core.scenes import Scene, SceneKeeper
from vision_edge.station.settings.station import SourceSettings

log = logging.getLogger(__name__)
MUCH = 0.25
"""Share of the picture from which on a part counts that is not wholly in view."""
State = Literal["connecting", "live", "stale", "lost", "ended"]


@dataclass(frozen=True)
class LineEvents:
    """Who is told what a line does; called in its thread.

    Attributes:
        verdict: A verdict, and the frame that it rests on most.
        state: The line's state has changed.
        missed: So many more parts were in view and got no verdict.
        view: Something has come into view, or nothing is in view any more.
        parts: What is in view now, as JSON values.
    """

    verdict: Callable[[Line, Frame, Verdict], None]
    state: Callable[[Line], None]
    missed: Callable[[Line, int], None]
    view: Callable[[Line], None]
    parts: Callable[[dict[str, Any]], None] = lambda _: None


def occupied(locator: Locator, image: Image) -> bool:
    """Whether a scene shows something wholly, or much of something: more than an edge of a part."""
    pixels = image.shape[0] * image.shape[1]
    return any(
        found.complete or area(found.box) >= MUCH * pixels for found in locator.find_all(image)
    )


@dataclass(frozen=True)
class _Judging:
    """What judges frames: another object whenever one of both changes."""

    model: Model
    scene: Scene


class Line:
    """One source and its thread.

    Args:
        settings: The source and how its parts are judged.
        model: Returns the model of the moment.
        events: Who is told.
        expected: Returns what the source should show.
        scenes: Folder of what is set on the page; None keeps nothing.

    Attributes:
        frames: Frames seen since the start.
        spared: Those of them that `max_rate` kept from being judged.
        reconnects: How often a lost source came back.
        statistics: Verdicts given, stale frames, seconds spent.
        latest: The latest frame, as it is judged.
        answers: What came of commands.
        guard: What has changed of its scene in silence.
        bursting: Held while a burst of it is taken.
        view_since: Since when something, or nothing, is in view.
        whole: The latest frame before its region of interest is cut out.
        scene: Its region of interest, and its empty picture.
        locator: Finds its parts; None where the whole picture is one.
        views: Its parts in view now.
    """

    def __init__(
        self,
        settings: SourceSettings,
        model: Callable[[], Model],
        events: LineEvents,
        expected: Callable[[], Expected] = lambda: Expected(None),
        scenes: Path | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.frames = self.spared = 0
        self.reconnects = 0
        self.statistics = PartStatistics()
        self.latest: Frame | None = None
        self.bursting = threading.Lock()
        self.view_since = datetime.now(timezone.utc)
        self._viewed = False
        self.whole: Frame | None = None
        self.scene = SceneKeeper(settings, scenes)
        self.locator: Locator | None = None
        self.views = PartViews(self.name, events.parts)
        self._doubt: str | None = None
        self._judging: _Judging | None = None
        self._model, self._events = model, events
        self._expected = expected
        self._trigger = RequestTrigger()
        self.guard = SceneGuard(settings.name, lambda: events.state(self))
        self.answers = Answers(settings.answer_within, lambda: events.state(self))
        self._state: State = "connecting"
        self._message = ""
        self._was_lost = False
        self._missed = self._lost_before = 0
        self._source: Source | None = None
        self._stopping = threading.Event()
        self._thread = NativeThread(target=self._run, name=f"line {self.name}")

    @property
    def state(self) -> State:
        """What the source is doing now."""
        camera = camera_of(self._source)
        return self._state if camera is None else camera.state.value

    @property
    def is_camera(self) -> bool:
        """Whether the source is a camera or stream, of which only fresh frames count."""
        return live_address(self.settings.address) is not None

    @property
    def lost_frames(self) -> int:
        """Frames that a camera took and that did not arrive, since the start; none is replaced."""
        camera = camera_of(self._source)
        return self._lost_before + (0 if camera is None else camera.lost)

    @property
    def age_ms(self) -> float | None:
        """Age of the latest frame in milliseconds; None before the first."""
        frame = self.latest
        return None if frame is None else 1000 * (time.monotonic() - frame.captured)

    @property
    def parts_in_view(self) -> int | None:
        """How many parts are in view; None where nothing tells.

        The trigger `presence` does, and what locates the parts of every frame.
        """
        kind = self.settings.trigger
        if kind not in ("presence", "none") or not self._locates:
            return None
        if kind == "none":
            return len(self.views.latest["parts"])
        return sum(counts.in_view for counts in self.statistics.parts.values())

    @property
    def _locates(self) -> bool:
        """Whether parts are judged, and not whole pictures; and it is known how to find them."""
        return self.settings.located != "whole" and self.locator is not None

    def status(self) -> dict[str, object]:
        """Return what the page shows of it."""
        age = self.age_ms
        camera = live_address(self.settings.address)
        return {
            "name": self.name,
            "address": camera[1]
            if camera
            else Path(self.settings.address).name,  # no folders shown
            "state": self.state,
            "frames": self.frames,
            "age_ms": None if age is None else round(age, 1),
            "reconnects": self.reconnects,
            "lost_frames": self.lost_frames,
            "message": self._discreet(self._message),
            "trigger": self.settings.trigger,
            "locate": self.settings.located,
            "doubt": self._doubt,
            "verdicts": self.statistics.frames,
            "stale_frames": self.statistics.stale,
            "missed_parts": self.statistics.missed,
            "fewer_views": self.statistics.fewer_views,
            "expected": self._expected().document(),
            "answer": None if self.answers.latest is None else self.answers.latest.word,
            "answers": self.answers.count,
            "change": self.guard.document(),
            "in_view": self.parts_in_view,
            "view_since": self.view_since.isoformat(timespec="milliseconds"),
        }

    def in_view(self, frame: Frame, verdict: Verdict) -> bool:
        """Whether there is anything to judge, as far as the source's empty scene is known."""
        return bool(verdict.parts) or self.locator is None or occupied(self.locator, frame.image)

    def _discreet(self, text: str) -> str:
        empty = self.settings.empty
        return without_folders(text, self.settings.address, str(empty.parent) if empty else "")

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def trigger(self) -> Ask:
        """Judge a part now; return what waits for the answer.

        Raises:
            VisionEdgeError: If it judges by another trigger.
        """
        if self.settings.trigger != "command":
            raise VisionEdgeError(
                f"source {self.name!r} is not judged on command (trigger = "
                f'"{self.settings.trigger}")',
                fix='set trigger = "command" for it',
            )
        if self.settings.fired:
            return self.answers.fire(lambda: fire(self._source, self.name))
        ask = self.answers.ask()
        self._trigger.request()
        return ask

    def stop(self) -> None:
        """Ask it to stop; does not wait."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Release the source and wait for the thread; whether it has ended."""
        source = self._source
        if source is not None and (source.live or getattr(source, "endless", False)):
            source.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                self._judge(backoff)
                if not self._stopping.is_set():
                    self._set("ended")
                return
            except VisionEdgeError as error:
                self._set("lost", error.what)
            except Exception:
                log.exception("source %s failed; it is tried again", self.name)
                self._set("lost", "failed unexpectedly; see the log")
            self._stopping.wait(backoff.pause())

    def _judge(self, backoff: Backoff) -> None:
        """Give verdicts until the source ends; with another model it goes on with that."""
        self.scene.current().empty_cut()  # one that is unfit is told before the camera
        source = opened(self.settings, self._unreadable, self._live_state)
        with closing(source), self._in_use(source):
            rate = self.settings.max_rate
            gate = Gate(source, self._current, self._seen, self._stopping, rate, self._spare)
            if not source.live:
                self._set("live")
            scene: Scene | None = None
            while not gate.over:
                judging = self._current()
                if judging.scene is not scene:
                    self._enter(judging.scene, another=scene is not None)
                    scene = judging.scene
                for frame, verdict in self._told(gate.with_model(judging), judging.model):
                    backoff.reset()
                    self._events.verdict(self, frame, verdict)
                    if self._stopping.is_set():
                        break
                self._tell_missed()

    @contextmanager
    def _in_use(self, source: Source) -> Iterator[None]:
        """Show a source's state as the line's, for a block."""
        self._source = source
        try:
            yield
        finally:
            self._lost_before, self._source = self.lost_frames, None

    def _told(self, source: Source, model: Model) -> Iterator[tuple[Frame, Verdict]]:
        settings, locator = self.settings, self.locator
        classifier = Expecting(model, lambda: self._expected().product)
        if settings.located != "whole" and locator is None:
            return self._unjudged(source)
        if settings.trigger == "none" and settings.located != "whole" and locator is not None:
            return located_verdicts(
                source,
                model,
                classifier,
                lambda: locator,
                max_age_ms=settings.max_age_ms,
                views=settings.frame_views,
                statistics=self.statistics,
                in_view=self._in_view,
            )
        if settings.trigger == "none":
            return verdicts(
                source,
                model,
                classifier,
                max_age_ms=settings.max_age_ms,
                views=settings.frame_views,
                statistics=self.statistics,
            )
        told = part_verdicts(
            source,
            model,
            classifier,
            self._make_trigger,
            self._part_settings,
            debounce=settings.debounce,
            max_age_ms=settings.max_age_ms,
            views=settings.frame_views,
            statistics=self.statistics,
            in_view=self._in_view,
        )
        return bound(told) if settings.fired else told

    @property
    def _part_settings(self) -> PartSettings:
        settings = self.settings
        if settings.fired:
            return fired_parts(settings.consensus)
        made = part_settings(settings.trigger, settings.consensus, settings.report)
        if settings.trigger != "command":
            return made
        return replace(made, deadline=min(made.deadline, settings.answer_within / 2))

    def _current(self) -> _Judging:
        """Return what judges frames now; the same object until model or scene change."""
        model, scene, last = self._model(), self.scene.current(), self._judging
        if last is None or last.model is not model or last.scene is not scene:
            last = self._judging = _Judging(model, scene)
        return last

    def _enter(self, scene: Scene, *, another: bool) -> None:
        """Locate parts in a scene from now on; that another one looks otherwise is no news."""
        self.locator = self._located(scene)
        if another:
            self.guard.acknowledge()

    def _located(self, scene: Scene) -> Locator | None:
        """Return what finds the parts of a scene; None if nothing does, or can yet."""
        detector = self.settings.detector_settings
        if self.settings.located == "detector" and detector is not None:
            known = self.locator
            return known if isinstance(known, Detector) else Detector(detector)
        empty = scene.empty_cut()
        if empty is None:
            return None
        return Presence(empty, touching=self.settings.locate is not None)

    def _unjudged(self, source: Source) -> Iterator[tuple[Frame, Verdict]]:
        """Let frames pass, since it is not known what they show without parts."""
        self._set_doubt("no picture of the empty scene: take one on the page View")
        for _ in source:
            pass
        yield from ()

    def _in_view(self, frame: Frame, parts: list[LocatedPart]) -> None:
        """Take the parts of a frame, and what speaks against how they were located."""
        located = self.locator if self._locates else None
        self._set_doubt(None if located is None else located.doubt)
        self.views.seen(frame, parts)

    def _set_doubt(self, doubt: str | None) -> None:
        if doubt != self._doubt:
            self._doubt = doubt
            self._events.state(self)

    def _make_trigger(self) -> Trigger:
        locator = self.locator if self.settings.located != "whole" else None
        if self.settings.trigger == "presence" and locator is not None:
            return self.guard.watching(PresenceTrigger(locator))
        plain = self._plain_trigger()
        return plain if locator is None else LocatedTrigger(plain, locator)

    def _plain_trigger(self) -> Trigger:
        """Return what says when to judge the whole picture."""
        settings = self.settings
        if settings.trigger == "motion":
            return self.guard.watching(MotionTrigger())
        if settings.trigger == "interval":
            return IntervalTrigger(settings.interval)
        alone = self.locator if settings.locate is None else None
        if settings.fired:
            return FiredTrigger(alone)
        self._trigger.locator = alone
        return self._trigger

    def _seen(self, frame: Frame) -> Frame:
        """Note a frame; return it as it is judged: its region of interest."""
        self.whole = frame
        scene = None if self._judging is None else self._judging.scene
        if scene is not None and scene.roi is not None:
            frame = replace(frame, image=scene.cut(frame.image))
        self.latest = frame
        self.frames += 1
        self._tell_missed()
        viewed = bool(self.parts_in_view)  # as of the frame before
        if viewed != self._viewed:
            self._viewed, self.view_since = viewed, datetime.now(timezone.utc)
            self._events.view(self)
        return frame

    def _tell_missed(self) -> None:
        """Tell of the parts that were missed since it was last told."""
        missed = self.statistics.missed
        if missed > self._missed:
            self._events.missed(self, missed - self._missed)
            self._missed = missed

    def _spare(self) -> None:
        self.spared += 1

    def _unreadable(self, error: ImageError) -> None:
        self._message = error.what
        self._events.state(self)

    def _live_state(self, state: LiveState, reason: str) -> None:
        if state is LiveState.LIVE and self._was_lost:
            self.reconnects += 1
            self._was_lost = False
        self._was_lost = self._was_lost or state is LiveState.LOST
        self._set(state.value, reason)

    def _set(self, state: State, message: str = "") -> None:
        changed = (state, message) != (self._state, self._message)
        self._state, self._message = state, message
        if changed and not self._stopping.is_set():  # a camera that is closed is not lost
            self._events.state(self)
