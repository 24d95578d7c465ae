"""What `vision-edge run` says at its end: how many verdicts, how quickly, and of which products."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import typer

from vision_edge.runtime.pipeline.part_verdicts import PartStatistics
from vision_edge.runtime.recognition.prototypes import Band
from vision_edge.runtime.sources.files import VideoSource
from vision_edge.runtime.sources.frame import Source
from vision_edge.runtime.sources.several import cameras_of
from vision_edge.runtime.system.files import atomic_file

Told = Counter[tuple[Band, str | None]]
"""Verdicts by band and label; a label is None where none was given."""
_WORDS: dict[Band, str] = {"accept": "", "review": "unsure", "unknown": "unknown"}
_SHOWN = 12
"""Products that are printed; `--counts` writes all."""


def _missed(statistics: PartStatistics) -> str:
    """Say how many parts were in view and got no verdict, and why."""
    counts = statistics.parts.values()
    missed, brief = statistics.missed, sum(one.brief for one in counts)
    cut_off = sum(one.cut_off for one in counts)
    late = sum(one.stale for one in counts)
    why = f" ({late} because their frames were too old)" if late else ""
    said = f"; {missed} part(s) in view were too quick to be judged{why}" if missed else ""
    said += f"; {brief} too brief to be a part" if brief else ""
    return said + (f"; {cut_off} that only lay at the border of the view" if cut_off else "")


def summarise(
    statistics: PartStatistics, tally: Told, source: Source, answers: Counter[str]
) -> None:
    """Print what a run did."""
    seconds = max(statistics.seconds, 1e-9)
    frames, judged = statistics.frames, statistics.judged
    each = f"{1000 * statistics.session_seconds / max(judged, 1):.1f} ms"
    several = bool(statistics.parts) or judged > frames + statistics.stale
    looks = f"{each} each of {judged} look(s)" if several else f"{each} a verdict"
    typer.echo(
        f"{frames} verdict(s) in {seconds:.1f} s, {frames / seconds:.1f} a second; model {looks}"
        + (f"; {statistics.stale} stale frame(s) got no verdict" if statistics.stale else "")
        + (f"; {statistics.empty} frame(s) had no part wholly in view" if statistics.empty else "")
        + _missed(statistics),
        err=True,
    )
    if statistics.fewer_views:
        typer.echo(
            f"note: {statistics.fewer_views} frame(s) were judged by one view: three took longer "
            "than --view-budget-ms",
            err=True,
        )
    if lost := sum(camera.lost for camera in cameras_of(source)):
        typer.echo(f"note: {lost} frame(s) that the camera took did not arrive in time", err=True)
    if isinstance(source, VideoSource) and source.missing:
        typer.echo(f"note: the video ends early: {source.missing} frame(s) are missing", err=True)
    for answer, count in answers.most_common():
        typer.echo(f"  {count:6d}  {answer}", err=True)
    for (band, label), count in tally.most_common(_SHOWN) if not answers else ():
        typer.echo(f"  {count:6d}  {label or _WORDS[band]}", err=True)
    if len(tally) > _SHOWN and not answers:
        rest = sum(tally.values()) - sum(count for _, count in tally.most_common(_SHOWN))
        typer.echo(f"  {rest:6d}  of {len(tally) - _SHOWN} others (--counts writes all)", err=True)


def write_counts(path: Path, statistics: PartStatistics, tally: Told, source: Source) -> None:
    """Write how many verdicts there were of each product, as JSON, whole or not at all.

    Raises:
        VisionEdgeError: If it cannot be written.
    """
    parts = list(statistics.parts.values())
    document = {
        "source": source.name,
        "verdicts": statistics.frames,
        "seconds": round(statistics.seconds, 3),
        "products": {label: n for (_, label), n in tally.most_common() if label is not None},
        "unsure": tally["review", None],
        "unknown": tally["unknown", None],
        "missed": sum(one.missed for one in parts),
        "brief": sum(one.brief for one in parts),
        "cut_off": sum(one.cut_off for one in parts),
        "stale_frames": statistics.stale,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
