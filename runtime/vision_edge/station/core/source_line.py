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
from pathlib import Path
from typing import Literal

from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.part_verdicts import PartStatistics, part_verdicts
from vision_edge.runtime.pipeline.triggers import (
    IntervalTrigger,
    MotionTrigger,
    PresenceTrigger,
    Trigger,
    part_settings,
)
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveState
from vision_edge.runtime.system.backoff import Backoff
from vision_edge.runtime.system.native_threads import NativeThread
from vision_edge.station.core.answers import Answers, Ask
from vision_edge.station.core.discretion import without_folders
from vision_edge.station.core.expectations import Expected
from vision_edge.station.core.feeds import Gate, camera_of, empty_scene, opened
from vision_edge.station.core.live_model import Expecting, Model
from vision_edge.station.core.request_trigger import RequestTrigger
from vision_edge.station.core.scene_guard import SceneGuard
from vision_edge.station.settings.station import SourceSettings

log = logging.getLogger(__name__)
State = Literal["connecting", "live", "stale", "lost", "ended"]


@dataclass(frozen=True)
class LineEvents:
    """Who is told what a line does; called in its thread.

    Attributes:
        verdict: A verdict, and the frame that it rests on most.
        state: The line's state has changed.
        missed: So many more parts were in view and got no verdict.
    """

    verdict: Callable[[Line, Frame, Verdict], None]
    state: Callable[[Line], None]
    missed: Callable[[Line, int], None]


class Line:
    """One source and its thread.

    Args:
        settings: The source and how its parts are judged.
        model: Returns the model of the moment.
        events: Who is told.
        expected: Returns what the source should show.

    Attributes:
        frames: Frames seen since the start.
        spared: Those of them that `max_rate` kept from being judged.
        reconnects: How often a lost source came back.
        statistics: Verdicts given, stale frames, seconds spent.
        latest: The latest frame, as it is judged.
        answers: What came of commands.
        scene: What has changed in silence.
        bursting: Held while a burst of it is taken.
    """

    def __init__(
        self,
        settings: SourceSettings,
        model: Callable[[], Model],
        events: LineEvents,
        expected: Callable[[], Expected] = lambda: Expected(None),
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.frames = self.spared = 0
        self.reconnects = 0
        self.statistics = PartStatistics()
        self.latest: Frame | None = None
        self.presence: Presence | None = None
        self.bursting = threading.Lock()
        self._model, self._events = model, events
        self._expected = expected
        self._trigger = RequestTrigger()
        self.scene = SceneGuard(settings.name, lambda: events.state(self))
        self.answers = Answers(settings.answer_within, lambda: events.state(self))
        self._state: State = "connecting"
        self._message = ""
        self._was_lost = False
        self._missed = 0
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
    def age_ms(self) -> float | None:
        """Age of the latest frame in milliseconds; None before the first."""
        frame = self.latest
        return None if frame is None else 1000 * (time.monotonic() - frame.captured)

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
            "message": self._discreet(self._message),
            "trigger": self.settings.trigger,
            "verdicts": self.statistics.frames,
            "stale_frames": self.statistics.stale,
            "missed_parts": self.statistics.missed,
            "fewer_views": self.statistics.fewer_views,
            "expected": self._expected().document(),
            "answer": None if self.answers.latest is None else self.answers.latest.word,
            "answers": self.answers.count,
            "change": self.scene.document(),
        }

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
        ask = self.answers.ask()
        self._trigger.request()
        return ask

    def stop(self) -> None:
        """Ask it to stop; does not wait."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Release the source and wait for the thread; whether it has ended."""
        source = self._source
        if source is not None and source.live:
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
        self.presence = empty_scene(self.settings)
        source = opened(self.settings, self._unreadable, self._live_state)
        with closing(source), self._in_use(source):
            rate = self.settings.max_rate
            gate = Gate(source, self._model, self._seen, self._stopping, rate, self._spare)
            if not source.live:
                self._set("live")
            while not gate.over:
                model = self._model()
                for frame, verdict in self._told(gate.with_model(model), model):
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
            self._source = None

    def _told(self, source: Source, model: Model) -> Iterator[tuple[Frame, Verdict]]:
        settings = self.settings
        classifier = Expecting(model, lambda: self._expected().product)
        if settings.trigger == "none":
            return verdicts(
                source,
                model,
                classifier,
                max_age_ms=settings.max_age_ms,
                views=settings.frame_views,
                statistics=self.statistics,
            )
        return part_verdicts(
            source,
            model,
            classifier,
            self._make_trigger,
            self._part_settings,
            debounce=settings.debounce,
            max_age_ms=settings.max_age_ms,
            views=settings.frame_views,
            statistics=self.statistics,
        )

    @property
    def _part_settings(self) -> PartSettings:
        settings = self.settings
        made = part_settings(settings.trigger, settings.consensus, settings.report)
        if settings.trigger != "command":
            return made
        return replace(made, deadline=min(made.deadline, settings.answer_within / 2))

    def _make_trigger(self) -> Trigger:
        kind = self.settings.trigger
        if kind == "presence" and self.presence is not None:
            return self.scene.watching(PresenceTrigger(self.presence))
        if kind == "motion":
            return self.scene.watching(MotionTrigger())
        self._trigger.presence = self.presence
        return self._trigger if kind == "command" else IntervalTrigger(self.settings.interval)

    def _seen(self, frame: Frame) -> None:
        self.latest = frame
        self.frames += 1
        self._tell_missed()

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
