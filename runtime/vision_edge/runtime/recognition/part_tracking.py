"""Parts followed from look to look: each judged by all of its frames, reported and counted once.

Time is in seconds. How many looks a part gets depends on the belt and the device; a line judged
once a second works by the same settings as one judged thirty times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.recognition.part_border import BorderTrack
from vision_edge.runtime.recognition.part_consensus import (
    EVIDENCE,
    METHODS,
    Box,
    Consensus,
    Method,
    PartVerdict,
    agree,
)
from vision_edge.runtime.recognition.part_motion import Flow, Place, iou, matched, outside
from vision_edge.runtime.recognition.part_startup import (
    HOLD_LOOKS,
    HOLD_SECONDS,
    Seen,
    StartUp,
    is_unclear,
)
from vision_edge.runtime.recognition.prototypes import Classifier, Decision

Report = Literal["settled", "leave"]
REPORTS: tuple[Report, ...] = ("settled", "leave")
BRIEF = 0.1
"""Seconds: what is seen for less, and in fewer than `least` looks, is a speck or a flicker."""
_WAITS = 2.5
"""Looks without a part after which it is gone, if those take longer than the gap."""
_BLIND = 5.0
"""Seconds without any look after which a part that was followed is gone all the same."""


@dataclass(frozen=True)
class PartSettings:
    """How parts are followed and judged.

    Attributes:
        method: How a part's frames agree; see `agree`.
        report: `"settled"` reports a part when two looks in a row agree on a product, or that it
            is the expected one; what stays unknown, or undecided, when it is about to leave or at
            the deadline: more frames may still name it. `"leave"` reports when it has left, or
            after `most` seconds.
        least: Judged frames before an answer counts as settled; a part that leaves before is
            reported by what there is, unless it was a mere flicker.
        gap: Seconds out of view after which a part is gone; at least 2.5 looks.
        deadline: Seconds after the first judged frame at which a part is reported, settled or not.
        most: The same for `report = "leave"`: a part that stays.

    Raises:
        VisionEdgeError: If one of the words is unknown.
    """

    method: Method = "mean"
    report: Report = "settled"
    least: int = 3
    gap: float = 0.15
    deadline: float = 1.0
    most: float = 10.0

    def __post_init__(self) -> None:
        """Check the words."""
        for word, known, what in (
            (self.method, METHODS, "consensus"),
            (self.report, REPORTS, "report"),
        ):
            if word not in known:
                raise VisionEdgeError(
                    f"unknown {what} {word!r}", fix=f"use one of {', '.join(known)}"
                )


@dataclass(frozen=True)
class Sighting:
    """One part in one look.

    Attributes:
        box: Where; None for the whole picture.
        embedding: float32 (D,); None where it was not judged: not wholly in view, or too old.
        stale: Whether it was not judged because its frame was too old.
        kind: Which view of the part it is by.
        patches: float32 (T, D), unit rows, if there are any.
    """

    box: Box | None = None
    embedding: Embeddings | None = None
    stale: bool = False
    kind: int = 0
    patches: Patches | None = None


@dataclass(frozen=True)
class _Look:
    """One frame's parts."""

    frame: int
    time: float
    seen: tuple[Sighting, ...]
    size: tuple[int, int]


@dataclass
class PartCounts:
    """What became of the parts.

    Attributes:
        reported: Parts with a verdict.
        missed: Parts that were in view, and not judged or on too few frames for a verdict.
        stale: Of those, parts whose every frame was too old when its turn came.
        brief: Specks and flickers: seen too briefly to be parts.
        cut_off: What lay at the border of the picture and came no further in: no part that passed,
            see `BorderTrack`. It is not among `missed`.
        in_view: Parts that are in view now.
    """

    reported: int = 0
    missed: int = 0
    stale: int = 0
    brief: int = 0
    cut_off: int = 0
    in_view: int = 0


@dataclass
class _Part:
    """A part under way."""

    place: Place | None
    first_seen: float
    last_seen: float
    looks: int = 0
    stale: int = 0
    reported: bool = False
    judged_at: float = 0.0
    frames: list[int] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    embeddings: list[Embeddings] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    patches: list[Patches | None] = field(default_factory=list)
    last_answer: tuple[str | None, str | None] | None = None
    decision: Decision | None = None
    number: int | None = None
    border: BorderTrack = field(default_factory=BorderTrack)

    @property
    def cut_off(self) -> bool:
        """Whether it was never wholly in view, but lay at the border."""
        return not self.frames and not self.stale and self.border.stayed


class PartTracker:
    """Follows the parts of one camera.

    Args:
        classifier: The products to tell apart.
        settings: See `PartSettings`.
        counts: What is counted on from, by the tracker before this one; from nothing by default.

    Attributes:
        counts: What became of the parts so far.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: PartSettings | None = None,
        counts: PartCounts | None = None,
    ) -> None:
        self._classifier = classifier
        self._settings = settings or PartSettings()
        self.counts = counts or PartCounts()
        self._parts: list[_Part] = []
        self._flow = Flow()
        self._times: deque[float] = deque(maxlen=16)
        self._start = StartUp()
        self._held: list[_Look] = []

    def needs(self, boxes: Sequence[Box | None], time: float) -> list[bool]:
        """Say which of the parts in view are worth an inference.

        A part that is reported, and lies where it is expected, is not judged again.
        """
        common = self._flow.velocity
        places = [part.place for part in self._parts if part.reported and part.place is not None]
        done = [place.expected(time, common) or place.box for place in places]
        whole = any(part.reported and part.place is None for part in self._parts)
        return [
            not whole if box is None else not any(iou(box, place) >= 0.5 for place in done)
            for box in boxes
        ]

    def judged(self, boxes: Sequence[Box | None], time: float) -> list[int]:
        """Say how often the part in each of the places was judged already; 0 for a new one."""
        common = self._flow.velocity
        places = [
            (part, part.place.expected(time, common) or part.place.box)
            for part in self._parts
            if part.place is not None
        ]
        whole = max((len(part.frames) for part in self._parts if part.place is None), default=0)
        return [
            whole
            if box is None
            else max((len(part.frames) for part, at in places if iou(box, at) >= 0.5), default=0)
            for box in boxes
        ]

    def look(
        self, frame: int, time: float, seen: Sequence[Sighting], size: tuple[int, int]
    ) -> list[PartVerdict]:
        """Take what is in view in one frame; return the verdicts that it brings.

        Args:
            frame: The frame's number, rising.
            time: When it was captured, in seconds, rising.
            seen: The parts in view; none in an empty scene.
            size: The picture's (width, height) in pixels.
        """
        self._held.append(_Look(frame, time, tuple(seen), size))
        self._start.add(_places_in(self._held[-1]))
        self.counts.in_view = len(seen)
        return [] if self._waits() else self._caught_up()

    def _waits(self) -> bool:
        """Whether to hold the looks since nobody can say yet which part is which."""
        if self._flow.velocity is not None:
            return False
        if len(self._held) == 1:
            places = [part.place for part in self._parts if part.place is not None]
            if not is_unclear(places, _places_in(self._held[0]), None):
                return False
        over = self._held[-1].time - self._held[0].time >= HOLD_SECONDS
        last = over or len(self._held) >= HOLD_LOOKS
        found = self._start.velocity(last=last)
        if found is not None:
            self._flow.told(found)
        return found is None and not last

    def _caught_up(self) -> list[PartVerdict]:
        """Take the looks that were held, and return their verdicts."""
        held, self._held = self._held, []
        return [verdict for look in held for verdict in self._taken(look)]

    def _taken(self, look: _Look) -> list[PartVerdict]:
        """Take one look; return the verdicts that it brings."""
        frame, time, seen, size = look.frame, look.time, look.seen, look.size
        self._times.append(time)
        verdicts = self._gone(time, size)
        for sighting, part in zip(seen, self._assigned(time, seen, size), strict=True):
            verdicts += self._noted(part, frame, time, sighting, size)
        verdicts += [verdict for part in self._parts for verdict in self._overdue(part, time)]
        self.counts.in_view = len(self._parts)
        return verdicts

    def in_view(self, time: float) -> list[tuple[Box, Decision | None, int | None]]:
        """Return the located parts that the look at `time` saw, from left to right.

        Returns:
            Of each its box, what it is as far as that is known, and its number once reported.
        """
        seen = [part for part in self._parts if part.last_seen == time and part.place is not None]
        found = [(part.place.box, part.decision, part.number) for part in seen if part.place]
        return sorted(found, key=lambda one: one[0])

    def finish(self) -> list[PartVerdict]:
        """End all that is under way, and return its verdicts."""
        if self._held and (found := self._start.velocity(last=True)) is not None:
            self._flow.told(found)
        verdicts = self._caught_up()
        parts, self._parts = self._parts, []
        self.counts.in_view = 0
        return verdicts + [verdict for part in parts for verdict in self._ended(part)]

    @property
    def _pause(self) -> float:
        """Seconds from one look to the next, as it was lately."""
        return float(np.median(np.diff(self._times))) if len(self._times) > 1 else 0.0

    def _assigned(
        self, time: float, seen: Sequence[Sighting], size: tuple[int, int]
    ) -> list[_Part]:
        """Return the part of each sighting: one that is under way, or a new one."""
        boxed = [sighting for sighting in seen if sighting.box is not None]
        boxes = [sighting.box for sighting in boxed if sighting.box is not None]
        known = [part for part in self._parts if part.place is not None]
        places = [part.place for part in known if part.place is not None]
        likenesses = [sighting.embedding for sighting in boxed]
        pairs = matched(places, boxes, likenesses, time, self._flow.velocity, size)
        self._flow.learn(places, boxes, pairs, time, size)
        given = iter([known[pairs[k]] if k in pairs else None for k in range(len(boxes))])
        return [
            self._whole(time) if sighting.box is None else next(given) or self._new(time, sighting)
            for sighting in seen
        ]

    def _whole(self, time: float) -> _Part:
        """Return the part that fills the picture."""
        for part in self._parts:
            if part.place is None:
                return part
        return self._new(time, Sighting())

    def _new(self, time: float, sighting: Sighting) -> _Part:
        place = None if sighting.box is None else Place(sighting.box, time)
        part = _Part(place, time, time)
        self._parts.append(part)
        return part

    def _noted(
        self, part: _Part, frame: int, time: float, sighting: Sighting, size: tuple[int, int]
    ) -> list[PartVerdict]:
        """Note one sighting of a part; return its verdict if it is due."""
        part.last_seen, part.looks = time, part.looks + 1
        part.stale += sighting.stale
        if part.place is not None and sighting.box is not None:
            part.place.seen(sighting.box, time, sighting.embedding, size)
            part.border.seen(sighting.box, size)
        if sighting.embedding is None or part.reported:
            return []
        if not part.frames:
            part.judged_at = time
        part.frames.append(frame)
        part.boxes.append(sighting.box)
        part.embeddings.append(sighting.embedding)
        part.kinds.append(sighting.kind)
        part.patches.append(sighting.patches)
        return self._due(part, time, size)

    def _due(self, part: _Part, time: float, size: tuple[int, int]) -> list[PartVerdict]:
        """Return a part's verdict if its time has come."""
        settings = self._settings
        waited = time - part.judged_at
        if settings.report == "leave":
            return self._reported(part) if waited >= settings.most else []
        if len(part.frames) < min(2, settings.least) and not self._leaving(part, time, size):
            return []
        answer = self._agreed(part)
        part.decision = answer.decision
        told = answer.decision.verification
        said = (answer.decision.label, None if told is None else told.answer)
        before, part.last_answer = part.last_answer, said
        sure = answer.decision.known or (told is not None and told.answer == "right")
        same = sure and before in (None, part.last_answer)
        settled = same and len(part.frames) >= settings.least
        late = waited >= settings.deadline or self._leaving(part, time, size)
        enough = len(part.frames) >= self._believed()
        return self._reported(part, answer) if settled or (late and enough) else []

    def _overdue(self, part: _Part, time: float) -> list[PartVerdict]:
        """Return the verdict of a part whose deadline has passed, in view or not."""
        settings = self._settings
        waits = settings.report == "settled" and part.frames and not part.reported
        late = time - part.judged_at >= settings.deadline
        if waits and late and len(part.frames) >= self._believed():
            return self._reported(part)
        return []

    def _leaving(self, part: _Part, time: float, size: tuple[int, int]) -> bool:
        """Whether a part will be out of view at the next look."""
        if part.place is None or self._pause <= 0:
            return False
        expected = part.place.expected(time + self._pause, self._flow.velocity)
        return expected is not None and (
            expected[0] <= 0 or expected[1] <= 0 or expected[2] >= size[0] or expected[3] >= size[1]
        )

    def _believed(self) -> int:
        """Return the judged frames that make a part, at the present rate of looks."""
        if self._pause <= 0:
            return self._settings.least
        return max(1, min(self._settings.least, math.ceil(BRIEF / self._pause - 1e-6)))

    def _gone(self, time: float, size: tuple[int, int]) -> list[PartVerdict]:
        """End the parts that have left, and return their verdicts."""
        gone = [part for part in self._parts if self._has_left(part, time, size)]
        self._parts = [part for part in self._parts if part not in gone]
        return [verdict for part in gone for verdict in self._ended(part)]

    def _has_left(self, part: _Part, time: float, size: tuple[int, int]) -> bool:
        patience = max(self._settings.gap, _WAITS * self._pause)
        if part.place is None:
            return time - part.last_seen > patience
        # its place says whether it is the same; a camera that shows nothing tells nothing of it
        looked = self._times[-2] if len(self._times) > 1 else time
        if looked - part.last_seen > 2 * patience or time - part.last_seen > _BLIND:
            return True
        if time - part.last_seen < 1.5 * self._pause:
            expected = None
        else:
            expected = part.place.expected(time, self._flow.velocity)
        return expected is not None and outside(expected, size)

    def _ended(self, part: _Part) -> list[PartVerdict]:
        """Return the verdict of a part that is gone, unless it was reported, or never judged."""
        if part.reported:
            return []
        if len(part.frames) >= self._believed():
            return self._reported(part)
        if part.looks < self._believed():
            self.counts.brief += 1
        elif part.cut_off:
            self.counts.cut_off += 1
        else:
            self.counts.missed += 1
            self.counts.stale += part.stale > 0
        return []

    def _agreed(self, part: _Part) -> Consensus:
        """Judge a part by its frames so far."""
        method = self._settings.method
        return agree(self._classifier, method, part.embeddings, part.kinds, part.patches)

    def _reported(self, part: _Part, answer: Consensus | None = None) -> list[PartVerdict]:
        """Report a part, once."""
        part.reported = True
        self.counts.reported += 1
        agreed = answer or self._agreed(part)
        part.decision, part.number = agreed.decision, self.counts.reported
        evidence = tuple(part.frames[int(index)] for index in agreed.order[:EVIDENCE])
        box = part.boxes[int(agreed.order[0])]
        verdict = PartVerdict(
            part.frames[0],
            part.frames[-1],
            evidence[0],
            len(part.frames),
            agreed.decision,
            evidence,
            self.counts.reported,
            box,
            part.embeddings[int(agreed.order[0])],
        )
        part.embeddings.clear()
        part.patches.clear()
        return [verdict]


def _places_in(look: _Look) -> Seen:
    """Return where parts are in a look, and what they look like."""
    boxed = [(one.box, one.embedding) for one in look.seen if one.box is not None]
    return Seen(
        look.time, tuple(box for box, _ in boxed), tuple(like for _, like in boxed), look.size
    )
