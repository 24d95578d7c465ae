"""The page of a recycling report: HTML that needs no network, no script and no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.recycle.report.chart import Line, line_chart
from vision_edge.toolkit.recycle.report.html import (
    NONE,
    STYLE,
    Html,
    bar,
    duration,
    interval,
    join,
    number,
    table,
    tag,
)
from vision_edge.toolkit.recycle.report.words import (
    SYNTHETIC,
    Facts,
    clear,
    contest,
    counted,
    energy,
    kept,
    summary,
    task,
    total_seconds,
)

ADAPTER_COLUMNS = (
    "Adapter",
    "Norm",
    "Cosine to rest",
    "Share",
    "Images",
    "Recognised",
    "Notes",
    "Classes",
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_page(path: Path, report: dict[str, Any], sheet_png: bytes) -> None:
    """Write a report as one self-contained HTML page, whole or not at all.

    Args:
        path: The page's file.
        report: What `recycle_report` gave; `created`, `seed` and `seconds` are shown where there.
        sheet_png: The contact sheet as PNG.
    """
    page = "<!doctype html>\n" + _page(report, sheet_png) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))


def _page(report: Facts, sheet_png: bytes) -> Html:
    title = f"Recycled meta-LoRA of {report['hub']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag("main", tag("h1", title), *_sections(report, sheet_png), _footer(report))
    return tag("html", head, tag("body", body), lang="en")


def _sections(report: Facts, sheet_png: bytes) -> Iterator[Html]:
    yield tag("p", summary(report), class_="lead")
    yield _tiles(report)
    yield _section("Accuracy", *_accuracies(report["evaluations"]))
    yield _section("Meta-learning", *_learning(report))
    yield _section("Adapters", *_adapters(report["adapters"]), *_not_of_hub(report))
    if report["skipped"]:
        yield _section("Left out", _skipped(report["skipped"]))
    yield _section("Time and memory", *_stages(report["stages"]))
    yield _section("Settings", *_settings(report))
    yield _section("Synthetic images", _sheet(report, sheet_png))


def _section(title: str, *children: Html) -> Html:
    return tag("section", tag("h2", title), *children)


def _footer(report: Facts) -> Html:
    backbone = report["backbone"]
    made = f"Made by vision-edge build --method recycle{_when(report)}. "
    return tag("footer", made, f"Backbone {backbone['name']}, SHA-256 {backbone['sha256'][:16]}….")


def _when(report: Facts) -> str:
    return f", {report['created']}" if report.get("created") else ""


def _tiles(report: Facts) -> Html:
    tiles = [*_score_tiles(report["evaluations"]), *_work_tiles(report)]
    pairs = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note)))
        for name, value, note in tiles
    ]
    return tag("dl", *pairs, class_="tiles")


def _score_tiles(tables: Sequence[Facts]) -> Iterator[tuple[str, str, str]]:
    ordered = sorted(tables, key=lambda document: document["data"] == SYNTHETIC)
    for document in ordered[:1]:
        own, backbone, _ = contest(document["results"])
        if own is not None:
            yield "Accuracy", number(own["accuracy"], unit="%"), str(document["data"])
        if own is not None and backbone is not None:
            gain = number(own["accuracy"] - backbone["accuracy"], sign=True)
            sure = "" if clear(own, backbone) else ", within the error"
            yield "Gain, in points", gain, f"over the plain backbone{sure}"


def _work_tiles(report: Facts) -> Iterator[tuple[str, str, str]]:
    out, flagged = len(report["skipped"]), sum(bool(f["outlier"]) for f in report["adapters"])
    yield "Adapters", str(len(report["adapters"])), f"{out} left out, {flagged} flagged"
    yield "Time", duration(total_seconds(report)), "in all"


def _accuracies(tables: Sequence[Facts]) -> Iterator[Html]:
    if not tables:
        yield tag("p", "Nothing was measured.", class_="muted")
    for document in sorted(tables, key=lambda document: document["data"] == SYNTHETIC):
        yield _accuracy(document)
        if document["data"] == SYNTHETIC:
            yield tag(
                "p",
                "These tasks are of inverted images. The averages have seen every adapter, and the "
                "step of meta-learning was chosen on such tasks: what counts is real images.",
                class_="muted",
            )


def _accuracy(document: Facts) -> Html:
    results = document["results"]
    known = [r for r in results if r["accuracy"] is not None]
    top = max((r["accuracy"] for r in known), default=None)
    best = [i for i, r in enumerate(results) if r["accuracy"] == top]
    marked = best[0] if len(best) == 1 else None
    ends = [r["accuracy"] + s * (r["ci95"] or 0) for r in results if r in known for s in (-1, 1)]
    caption = (
        f"Accuracy in % on {task(document)}, with the 95 % interval. The highest is marked; "
        "differences are to the first row."
    )
    rows = [_accuracy_row(r, results[0], ends, i == marked) for i, r in enumerate(results)]
    head = ["Embedder", "Accuracy", "95 %", "Difference", "Interval"]
    return table(caption, head, rows, text={4}, marked=marked)


def _accuracy_row(result: Facts, first: Facts, ends: Sequence[float], best: bool) -> list[str]:
    value, half, zero = result["accuracy"], result["ci95"], first["accuracy"]
    name = join(result["name"], " ", tag("span", "highest", class_="tag good") if best else "")
    if value is None:
        return [name, NONE, NONE, NONE, ""]
    gain = number(value - zero, sign=True) if zero is not None and result is not first else NONE
    drawn = interval(value, half or 0.0, min(ends), max(ends), value if zero is None else zero)
    return [name, number(value), f"± {number(half)}", gain, drawn]


def _learning(report: Facts) -> Iterator[Html]:
    curves = report["curves"]
    yield tag("p", kept(report), " ", energy(report), class_="muted")
    if not curves:
        return
    loss = [_line("held out", curves, "held_out_loss"), _line("training", curves, "loss", True)]
    accuracy = [_line("held out", curves, "held_out_accuracy")]
    yield tag(
        "div",
        _chart("Loss on synthetic tasks, by step", "loss", loss, report["step"]),
        _chart("Accuracy on synthetic tasks, by step", "accuracy in %", accuracy, report["step"]),
        class_="charts",
    )
    yield tag("details", tag("summary", "The same as numbers"), _curve_table(curves))


def _line(name: str, curves: Sequence[Facts], key: str, faint: bool = False) -> Line:
    return Line(name, [(r["step"], r[key]) for r in curves if r[key] is not None], faint)


def _chart(title: str, unit: str, lines: Sequence[Line], step: int) -> Html:
    chosen = next((point for point in lines[0].points if point[0] == step), None)
    return tag("figure", line_chart(title, unit, lines, chosen), tag("figcaption", title))


def _curve_table(curves: Sequence[Facts]) -> Html:
    head = ["Step", "Loss of training", "Loss held out", "Accuracy held out", "Distance from start"]
    rows = [
        [
            str(row["step"]),
            number(row["loss"], 4),
            number(row["held_out_loss"], 4),
            number(row["held_out_accuracy"], 1, "%"),
            number(row["distance"], 3),
        ]
        for row in curves
    ]
    return table("What meta-learning saw at each look", head, rows, tall=True)


def _adapters(adapters: Sequence[Facts]) -> Iterator[Html]:
    flagged = [str(fact["name"]) for fact in adapters if fact["outlier"]]
    if flagged:
        text = f"Hardly in agreement with the rest: {', '.join(flagged)}. See whether they belong."
        yield tag("p", text, class_="note")
    caption = (
        "Each adapter: size of its change, cosine to the sum of the others, share in the mean of "
        "products, and how often it recognises its own synthetic images. Bars are relative to the "
        "column's largest; that of recognised to 100 %."
    )
    tops = {key: _largest(adapters, key) for key in ("norm", "cosine_to_rest", "share")}
    rows = [_adapter_row(fact, tops) for fact in adapters]
    yield table(caption, ADAPTER_COLUMNS, rows, text={6}, wide={7}, tall=True)


def _largest(adapters: Sequence[Facts], key: str) -> float:
    return max((fact[key] for fact in adapters if fact[key] is not None), default=0.0)


def _adapter_row(fact: Facts, tops: Mapping[str, float]) -> list[str]:
    share, agreement = fact["share"], fact["agreement"]
    return [
        str(fact["name"]),
        bar(fact["norm"], tops["norm"], number(fact["norm"], 2)),
        bar(fact["cosine_to_rest"], tops["cosine_to_rest"], number(fact["cosine_to_rest"], 3)),
        bar(share, tops["share"], _share(share)),
        str(fact["images"]),
        bar(agreement, 1.0, _share(agreement)) if agreement is not None else NONE,
        _flags(fact),
        ", ".join(map(str, fact["classes"])) or NONE,
    ]


def _share(value: float | None) -> str:
    return number(None if value is None else 100 * value, 1, "%")


def _flags(fact: Facts) -> Html:
    said = [
        (fact["outlier"], "outlier", "warn"),
        (not fact["has_head"], "no head", "plain"),
        (not fact["base_verified"], "backbone not verified", "plain"),
    ]
    tags = [tag("span", text, class_=f"tag {kind}") for wanted, text, kind in said if wanted]
    notes = [tag("div", str(note), class_="muted") for note in fact["notes"]]
    return join(*tags, *notes)


def _not_of_hub(report: Facts) -> Iterator[Html]:
    names = report["pool"]["not_of_hub"]
    if names:
        text = f"The pool also holds images of adapters outside of this hub: {', '.join(names)}."
        yield tag("p", text, class_="note")


def _skipped(skipped: Mapping[str, str]) -> Html:
    rows = [[name, reason] for name, reason in skipped.items()]
    return table("Adapters that could not be used", ["Adapter", "Reason"], rows, wide={1})


def _sheet(report: Facts, sheet_png: bytes) -> Html:
    pool = report["pool"]
    text = (
        f"Images inverted from {counted(pool['adapters'], 'adapter')}: a row an adapter, an "
        "image a class. They are what an adapter takes for its classes, not photographs."
    )
    source = f"data:image/png;base64,{base64.b64encode(sheet_png).decode('ascii')}"
    image = tag("img", src=source, alt=f"Contact sheet. {text}", class_="sheet")
    return tag("figure", image, tag("figcaption", text))


def _stages(stages: Mapping[str, Facts]) -> Iterator[Html]:
    top = max((stage["seconds"] or 0.0 for stage in stages.values()), default=0.0)
    rows = [
        [name, bar(s["seconds"], top, duration(s["seconds"])), number(s["peak_mb"], 0, "MB")]
        for name, s in stages.items()
    ]
    caption = "Time of each stage and peak memory, of the graphics card where there is one"
    yield table(caption, ["Stage", "Time", "Peak memory"], rows)
    yield tag("p", "What was resumed from an earlier run is not counted.", class_="muted")


def _settings(report: Facts) -> Iterator[Html]:
    given = {"seed": report["seed"]} if "seed" in report else {}
    rows = [[name, str(value)] for name, value in _flat({**given, **report["settings"]})]
    yield tag(
        "details",
        tag("summary", f"All {len(rows)} settings"),
        table("Settings, by the stage that they belong to", ["Setting", "Value"], rows, text={1}),
    )


def _flat(values: Facts, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings with the names of their groups before their own."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NONE if value is None or value == "" else value
