"""Options of `vision-edge run`: each says which settings it fills, and in which mode it counts."""

from __future__ import annotations

import math

from vision_edge.cli.declarations import Group, Mode, Option, absent, chosen
from vision_edge.cli.options import LIVE, far
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier
from vision_edge.runtime.pipeline.part_verdicts import part_verdicts
from vision_edge.runtime.pipeline.triggers import IntervalTrigger
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.sources.live import LiveSettings

PARTS = Mode("--trigger", lambda values: values["trigger"] is not None)
OPEN_SET = absent("closed_set", "a run without --closed-set")


def _score(value: float) -> float:
    if not math.isfinite(value):
        raise VisionEdgeError("a score is a number", fix="give one from -1 to 1")
    return value


ACCEPTANCE = Group(
    CurrentClassifier,
    far(OPEN_SET, absent("threshold", "a run without --threshold")),
    Option(
        "threshold",
        "--threshold",
        float,
        "Fixed score below which a frame is unknown, -1 to 1.",
        parse=_score,
        only=(OPEN_SET,),
    ),
    Option(
        "expected",
        "--expect",
        str,
        "The product that every part should be: right, wrong or unsure.",
    ),
)
INTERVAL = Group(
    IntervalTrigger,
    Option("seconds", "--interval", float, "Seconds a part, with interval.", min=0.01),
    only=(chosen("trigger", "interval"),),
)
PART = Group(
    PartSettings,
    Option("method", "--consensus", str, "How a part's frames agree: mean or votes."),
    Option(
        "report",
        "--report",
        str,
        "When a part is reported: settled (as soon as its frames agree) or leave.",
        only=(chosen("trigger", "presence", "motion", "command"),),
    ),
    only=(PARTS,),
)
REPEATS = Group(
    part_verdicts,
    Option("debounce", "--debounce", float, "Seconds without the same part again.", min=0),
    only=(PARTS,),
)
AGE = Group(
    verdicts,
    Option("max_age_ms", "--max-age-ms", float, "No verdict on a live frame older.", min=1),
    only=(LIVE,),
)
CAMERA = Group(
    LiveSettings,
    Option("wait", "--wait", bool, "Wait for a camera that does not answer yet."),
    Option("give_up_after", "--give-up-after", float, "End when a camera is lost this long."),
    only=(LIVE,),
)
