"""A recycling report in plain words: what was built, and whether it beats its baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vision_edge.runtime.reports.numbers import counted, duration, number

SYNTHETIC = "synthetic tasks held out"
"""What a table is called whose tasks are of inverted images."""
RECYCLED = "recycled"
"""What tables call the meta-LoRA."""

STARTS = {
    "subspace": "the subspace average",
    "average": "the average of products",
    "random": "random factors",
}
Facts = Mapping[str, Any]


def summary(report: Facts) -> str:
    """Say in a few plain sentences what was built, and whether it beats its baselines."""
    return " ".join([_built(report), *_verdict(report["evaluations"]), kept(report)])


def _built(report: Facts) -> str:
    pool, out = report["pool"], len(report["skipped"])
    left = f" ({out} left out)" if out else ""
    return (
        f"{counted(len(report['adapters']), 'adapter')} of {report['hub']}{left} for "
        f"{report['backbone']['name']} became one meta-LoRA, which is to recognise new classes "
        f"from few images. That took {duration(total_seconds(report))} and none of the adapters' "
        f"data: it learned from {counted(pool['images'], 'synthetic image')} of "
        f"{counted(pool['classes'], 'class', 'classes')}."
    )


def _verdict(tables: Sequence[Facts]) -> Iterator[str]:
    real = [document for document in tables if document["data"] != SYNTHETIC]
    if not real:
        yield "It was not tested on real images (--test does), so nothing is known of those."
    for document in real or tables:
        own, backbone, best = contest(document["results"])
        if own is None:
            continue
        rivals = [rival for rival in (backbone, best) if rival is not None]
        said = ", and ".join(_compared(own, rival) for rival in rivals)
        yield f"On {task(document)} it recognises {_percent(own)}: {said or 'with no baseline'}."


def task(document: Facts) -> str:
    """Name a table's data and the form of its tasks."""
    return (
        f"{document['data']} ({document['way']}-way {document['shot']}-shot, "
        f"{counted(document['episodes'], 'task')})"
    )


def _percent(result: Facts) -> str:
    return f"{number(result['accuracy'])} ± {number(result['ci95'], unit='%')}"


def contest(results: Sequence[Facts]) -> tuple[Facts | None, Facts | None, Facts | None]:
    """Return the meta-LoRA's result, the plain backbone's, and the best of the others."""
    known = [result for result in results if result["accuracy"] is not None]
    own = next((result for result in known if result["name"] == RECYCLED), None)
    others = [result for result in known if result is not own]
    backbone = others[0] if others and others[0] is results[0] else None
    others = [result for result in others if result is not backbone]
    return own, backbone, max(others, key=lambda result: result["accuracy"], default=None)


def clear(own: Facts, rival: Facts) -> bool:
    """Whether two results differ by more than their 95 % intervals.

    The intervals are added as if the tasks differed, which is careful: they are the same tasks.
    """
    error: float = math.hypot(own["ci95"] or 0.0, rival["ci95"] or 0.0)
    gain: float = own["accuracy"] - rival["accuracy"]
    return abs(gain) > error


def _compared(own: Facts, rival: Facts) -> str:
    gain = own["accuracy"] - rival["accuracy"]
    if not clear(own, rival):
        return f"no clear difference from {rival['name']} ({number(gain, sign=True)} points)"
    return f"{number(abs(gain))} points {'above' if gain > 0 else 'below'} {rival['name']}"


def kept(report: Facts) -> str:
    """Say which step of meta-learning was kept."""
    steps = report["settings"]["meta"]["steps"]
    if steps == 0:
        return "Without meta-learning (0 steps): it is the start."
    if report["step"] == 0:
        return f"Meta-learning ({steps} steps) found nothing better than its start, which was kept."
    return f"Of {steps} steps of meta-learning, step {report['step']} was kept."


def total_seconds(report: Facts) -> float:
    """Return how long the build took; without `seconds`, its stages."""
    total: float = sum(stage["seconds"] or 0.0 for stage in report["stages"].values())
    return report.get("seconds") or total


def energy(report: Facts) -> str:
    """Say where meta-learning started."""
    share, start = report["energy_kept"], report["settings"]["start"]
    if share is None:
        return f"It started from {STARTS.get(start, start)}."
    said = f"It started from {STARTS.get(start, start)}"
    return f"{said}, which kept {number(100 * share, unit='%')} of its energy at its rank."
