"""Options of where parts are: the whole picture, by the empty scene, or by a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vision_edge.cli.declarations import Given, Group, Mode, Option, Values, chosen, present
from vision_edge.cli.options import presence_of
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.locating import LOCATES, Locator
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.detector import Detector, DetectorSettings
from vision_edge.runtime.sources.view import View


def located_by(values: Values) -> str:
    """Return how a run locates parts: as it says, or as its trigger needs."""
    return str(values["locate"] or ("presence" if values["trigger"] == "presence" else "whole"))


BY_PRESENCE = Mode(
    "--locate presence, or --trigger presence", lambda values: located_by(values) == "presence"
)


def detector_options(mode: Mode, *, by_itself: bool) -> Group:
    """Return the options of a detector.

    Args:
        mode: In which all of them count.
        by_itself: Whether `--detector` alone asks for it, and the others count beside it.
    """
    only = () if by_itself else (mode,)
    rest = (present("detector"),) if by_itself else (mode,)
    return Group(
        DetectorSettings,
        Option("path", "--detector", Path, "ONNX file of a detector that finds parts.", only=only),
        Option("score", "--detector-score", float, "Least score of a part, 0 to 1.", only=rest),
        Option(
            "overlap",
            "--detector-overlap",
            float,
            "Of parts that overlap more, one counts.",
            only=rest,
        ),
        Option(
            "values",
            "--detector-values",
            str,
            "Pixels as it takes them: auto, 0-1, 0-255, imagenet.",
            only=rest,
        ),
        Option(
            "colour",
            "--detector-colour",
            str,
            "Order of its channels: auto, rgb, bgr.",
            only=rest,
        ),
    )


RUN_DETECTOR = detector_options(chosen("locate", "detector"), by_itself=False)
REGISTER_DETECTOR = detector_options(present("detector"), by_itself=True)


def locator_of(
    locate: str | None,
    trigger: str | None,
    empty: Path | None,
    detector: Given[DetectorSettings],
    view: View,
    reading: Reading,
) -> Callable[[], Locator] | None:
    """Return what makes a camera's locator; None where the whole picture is the part.

    Raises:
        VisionEdgeError: If the word is unknown, or what it needs was not given.
    """
    if locate is not None and locate not in LOCATES:
        raise VisionEdgeError(
            f"--locate {locate!r} is unknown", fix=f"use one of {', '.join(LOCATES)}"
        )
    kind: str = located_by({"locate": locate, "trigger": trigger})
    if kind == "whole":
        if trigger == "presence":
            raise VisionEdgeError(
                "--trigger presence judges what is located, and --locate whole locates nothing",
                fix="use --locate presence or --locate detector",
            )
        return None
    if kind == "detector":
        found = _detector(detector)
        return lambda: found
    if empty is None:
        raise VisionEdgeError(
            f"{'--locate' if locate else '--trigger'} presence: parts are located by the empty "
            "scene, which is not known",
            fix="add --empty PICTURE",
        )
    touching = locate is not None
    _presence(empty, view, reading, touching)  # read now, so that a fault is told before any work
    return lambda: _presence(empty, view, reading, touching)


def _presence(empty: Path, view: View, reading: Reading, touching: bool) -> Locator:
    presence = presence_of(empty, view, reading, touching=touching)
    assert presence is not None
    return presence


def _detector(given: Given[DetectorSettings]) -> Detector:
    if "path" not in given.values:
        raise VisionEdgeError(
            "--locate detector needs a detector's model", fix="add --detector FILE.onnx"
        )
    return Detector(given.made())


def register_locator(
    empty: Path | None, detector: Given[DetectorSettings], view: View, reading: Reading
) -> Locator | None:
    """Return what finds the part that is registered; None where the whole picture is it."""
    if detector.values:
        return _detector(detector)
    return presence_of(empty, view, reading)
