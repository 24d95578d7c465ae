"""The verdict: what the runtime says about one frame, or one part."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.part_consensus import Box, PartVerdict
from vision_edge.runtime.recognition.prototypes import Decision
from vision_edge.runtime.recognition.verification import Verification

_WORST = ("wrong", "unsure", "right")


@dataclass(frozen=True)
class LocatedPart:
    """One part in a frame.

    Attributes:
        box: Where, in pixels of the frame: x0, y0, x1, y1.
        decision: What it is; None while it is not judged: not wholly in view, or not yet.
        number: Which part of its camera it is, once it is reported.
        embedding: float32 (D,) of what it was judged by; not in the document.
    """

    box: Box
    decision: Decision | None
    number: int | None = None
    embedding: Embeddings | None = field(default=None, compare=False, repr=False)

    def document(self) -> dict[str, object]:
        """Return it as JSON values, by field."""
        found: dict[str, object] = {"box": list(self.box), "number": self.number}
        if self.decision is None:
            return {**found, "label": None, "band": None}
        found |= answer_of(self.decision)
        if self.decision.verification is not None:
            found["verification"] = self.decision.verification.document()
        return found


@dataclass(frozen=True)
class Verdict:
    """A decision on one frame or one part.

    Attributes:
        time: When the verdict was given, UTC.
        source: The file or stream the frame came from.
        frame: The frame's number in its source, from 0.
        age_ms: Age of the frame when the verdict was given, in milliseconds.
        decision: Product or unknown, score and margin.
        part: For a verdict on a part: all that it rests on; `frame` is the best evidence.
        parts: Where parts are located: those that the verdict is about, the part reported or all
            that are wholly in view in the frame; `decision` is that of the largest.
        trigger: Which trigger of its camera it answers, where a command takes each picture: the
            number that the command was given, and that the frame has.
        embedding: float32 (D,) of that frame, or of the part that `decision` is on; not in the
            document.
    """

    time: datetime
    source: str
    frame: int
    age_ms: float
    decision: Decision
    part: PartVerdict | None = None
    parts: tuple[LocatedPart, ...] = ()
    trigger: int | None = None
    embedding: Embeddings | None = field(default=None, compare=False, repr=False)

    @property
    def verification(self) -> Verification | None:
        """Whether it is the product that is expected; None where none is.

        Of several parts in a frame it is that of the part which most needs a person: a wrong one
        before an unsure one, and those before right ones; among equals that of the largest.
        """
        told = [self.decision, *(part.decision for part in self.parts if part.decision)]
        asked = [one.verification for one in told if one.verification is not None]
        return min(asked, key=lambda one: _WORST.index(one.answer), default=None)

    def to_json(self) -> str:
        """Return the verdict as one line of JSON, without a line break."""
        return json.dumps(self.document(), ensure_ascii=False)

    def document(self) -> dict[str, object]:
        """Return the verdict as JSON values, by field."""
        document: dict[str, object] = {
            "time": self.time.isoformat(timespec="milliseconds"),
            "source": self.source,
            "frame": self.frame,
            "age_ms": round(self.age_ms, 3),
            **answer_of(self.decision),
        }
        if self.trigger is not None:
            document["trigger"] = self.trigger
        if self.verification is not None:
            document["verification"] = self.verification.document()
        if self.part is not None:
            document["part"] = {
                "first": self.part.first,
                "last": self.part.last,
                "frames": self.part.frames,
                "evidence": list(self.part.evidence_frames),
                "number": self.part.number,
                "box": None if self.part.box is None else list(self.part.box),
            }
        if self.parts:
            document["parts"] = [part.document() for part in self.parts]
        return document


def answer_of(decision: Decision) -> dict[str, object]:
    """Return a decision as JSON values, by field."""
    return {
        "label": decision.label,
        "score": round(decision.score, 6),
        "margin": _rounded(decision.margin),
        "known": decision.known,
        "nearest": decision.nearest,
        "band": decision.band,
        "stranger_rate": _rounded(decision.stranger_rate),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
