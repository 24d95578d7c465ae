"""Pieces of the report's page: tags that escape what they hold, tables and bars."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

VOID = frozenset({"meta", "img"})
NONE = "–"
"""What stands for a number that is not known."""

STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #ffffff; --ink: #1c1d1f;
  --muted: #5a5d63; --line: #dfe0e2; --accent: #0b6e63; --soft: #d9efeb; --warn: #9a3412;
  --warn-soft: #fdebdf; }
@media (prefers-color-scheme: dark) { :root { --paper: #141517; --card: #1d1f22; --ink: #e8e8e6;
  --muted: #a5a8ae; --line: #35383d; --accent: #5fd4c4; --soft: #17403b; --warn: #fdba74;
  --warn-soft: #43261a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: auto; }
h1 { margin: 0 0 .2rem; font-size: 1.75rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 .6rem; font-size: 1.15rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
caption { max-width: calc(100vw - 4rem); }
.muted, caption, footer { color: var(--muted); font-size: .875rem; }
section { margin-top: 1.25rem; padding: 1.1rem 1.25rem 1.25rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
.lead { font-size: 1.0625rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.1rem 0 0; padding: 0; }
.tiles div { padding: .7rem .9rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
.tiles dt { color: var(--muted); font-size: .8125rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; color: var(--muted); font-size: .8125rem; font-weight: 400; }
.scroll { overflow-x: auto; margin-top: .75rem; }
.scroll + .scroll, .muted + .scroll { margin-top: 1.5rem; }
.scroll.tall { max-height: 34rem; overflow-y: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .38rem .9rem .38rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word;
  white-space: pre-line; }
th { font-weight: 500; }
tbody th { min-width: 7rem; }
thead th { color: var(--muted); font-size: .8125rem; vertical-align: bottom; }
.tall thead th { position: sticky; top: 0; background: var(--card); }
.wide { min-width: 15rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
.best > * { background: var(--soft); font-weight: 650; }
.best > :first-child { box-shadow: inset 3px 0 var(--accent); padding-left: .6rem; }
.tag { display: inline-block; margin: 0 .25rem .15rem 0; padding: .02rem .5rem; font-size: .8125rem;
  font-weight: 500; border-radius: 1rem; border: 1px solid currentColor; white-space: nowrap; }
.tag.good { color: var(--accent); } .tag.warn { color: var(--warn);
  background: var(--warn-soft); } .tag.plain { color: var(--muted); }
.bar { display: block; width: 100%; min-width: 4rem; height: 5px; margin-top: 3px;
  background: var(--line); border-radius: 3px; overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--accent); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1rem; }
figure { margin: 0; }
figcaption { color: var(--muted); font-size: .875rem; margin-top: .5rem; }
svg.chart { width: 100%; height: auto; }
svg.spark { display: block; width: 10rem; height: 1.125rem; margin-top: .2rem; overflow: visible; }
svg text { fill: var(--muted); font-size: 13px; stroke: none; }
svg text.strong { fill: var(--ink); font-weight: 650; paint-order: stroke; stroke: var(--card);
  stroke-width: 5px; stroke-linejoin: round; }
.grid { stroke: var(--line); } .reference { stroke: var(--muted); stroke-dasharray: 2 2; }
.interval { stroke: var(--accent); stroke-width: 2; } circle { fill: var(--accent); }
.line { fill: none; stroke: var(--accent); stroke-width: 2.25; stroke-linejoin: round; }
.line.faint { stroke: var(--muted); stroke-width: 1.5; stroke-dasharray: 5 4; }
.chosen { stroke: var(--ink); stroke-dasharray: 3 3; }
.ring { fill: none; stroke: var(--ink); stroke-width: 2; }
.sheet { display: block; max-width: 100%; height: auto; margin: auto; border-radius: .4rem; }
.note { border-left: 3px solid var(--warn); padding-left: .75rem; }
details { margin-top: .75rem; } summary { cursor: pointer; color: var(--accent); }
footer { margin-top: 1.5rem; }
@media (max-width: 36rem) { body { padding: 1.25rem .6rem 3rem; }
  section { padding: .9rem .8rem 1rem; } h1 { font-size: 1.4rem; } }
@media print { body { padding: 0; background: none; } .scroll.tall { max-height: none; }
  section { break-inside: avoid; } }
"""


class Html(str):
    """Text that is HTML already. All other text is escaped where it enters a tag."""

    __slots__ = ()


def join(*children: str) -> Html:
    """Put pieces side by side; those that are not `Html` are escaped."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in children))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """Return a tag with what it holds.

    Args:
        name: Its name.
        children: What it holds; pieces that are not `Html` are escaped.
        attributes: Without the `_` that a Python keyword needs at its end; other `_` become `-`;
            None leaves one out.
    """
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(*children)}</{name}>")


def number(value: float | None, digits: int = 1, unit: str = "", *, sign: bool = False) -> str:
    """Return a number as a reader wants it, with a real minus, its unit on the same line."""
    if value is None:
        return NONE
    rounded = round(value, digits) + 0.0  # no minus zero
    text = f"{rounded:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def duration(seconds: float | None) -> str:
    """Return a time in the units that suit it."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[int] = (),
    wide: Collection[int] = (),
    marked: int | None = None,
    tall: bool = False,
) -> Html:
    """Return a table that scrolls where it is too wide.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells; the first of each names its row.
        text: Columns that are no numbers, besides the first.
        wide: Those of them that need room.
        marked: The row to mark.
        tall: Whether it scrolls where it is too long, too.
    """
    plain = {0: None, **dict.fromkeys(text), **dict.fromkeys(wide, "wide")}
    kinds = [plain.get(column, "n") for column in range(len(head))]
    top = [tag("th", c, scope="col", class_=kind) for c, kind in zip(head, kinds, strict=True)]
    body = [_row(cells, kinds, index == marked) for index, cells in enumerate(rows)]
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *top)),
        tag("tbody", *body),
    )
    kind = "scroll tall" if tall else "scroll"
    return tag("div", whole, class_=kind, tabindex=0, role="region", aria_label=caption)


def _row(cells: Sequence[str], kinds: Sequence[str | None], marked: bool) -> Html:
    first = tag("th", cells[0], scope="row")
    rest = [tag("td", c, class_=kind) for c, kind in zip(cells[1:], kinds[1:], strict=True)]
    return tag("tr", first, *rest, class_="best" if marked else None)


def bar(value: float | None, top: float, text: str) -> Html:
    """Return a number over a bar that is full at `top`."""
    share = max(0.0, min(1.0, (value or 0.0) / top)) if top > 0 else 0.0
    fill = tag("span", style=f"width:{100 * share:.1f}%")
    return join(text, tag("span", fill, class_="bar", aria_hidden="true"))


def interval(value: float, half: float, low: float, high: float, reference: float) -> Html:
    """Draw a value with its interval on a scale, beside a reference; only for the eye."""
    left, right, dot, line = (
        160 * (at - low) / max(high - low, 1e-9)
        for at in (value - half, value + half, value, reference)
    )
    return tag(
        "svg",
        tag("line", x1=places(line), x2=places(line), y1=0, y2=18, class_="reference"),
        tag("line", x1=places(left), x2=places(right), y1=9, y2=9, class_="interval"),
        tag("circle", cx=places(dot), cy=9, r=4, class_="dot"),
        viewBox="0 0 160 18",
        class_="spark",
        aria_hidden="true",
    )


def places(value: float) -> str:
    """Return a coordinate of a drawing."""
    return f"{value:.1f}"
