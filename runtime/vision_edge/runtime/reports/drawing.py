"""A drawing of lines, boxes, dots and words as SVG: alone in a file, or within a page.

A shape has a kind, which `chart.css` gives its look, in light and in dark. Within a page the page's
style counts; a file bears the same rules with the colours written out, so that programs without
CSS variables show it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.files import atomic_file

TEMPLATES = Path(__file__).parent / "templates"
LIGHT = {
    "paper": "#f6f6f4", "card": "#ffffff", "ink": "#1c1d1f", "muted": "#5a5d63",
    "line": "#dfe0e2", "accent": "#0b6e63", "soft": "#d9efeb", "warn": "#9a3412",
    "warn-soft": "#fdebdf",
    "s0": "#0072b2", "s1": "#d55e00", "s2": "#009e73", "s3": "#cc79a7", "s4": "#b88a00",
    "s5": "#56b4e9", "s6": "#7f7f7f", "s7": "#000000",
}  # fmt: skip
DARK = {
    "paper": "#141517", "card": "#1d1f22", "ink": "#e8e8e6", "muted": "#a5a8ae",
    "line": "#35383d", "accent": "#5fd4c4", "soft": "#17403b", "warn": "#fdba74",
    "warn-soft": "#43261a",
    "s0": "#4ba3e0", "s1": "#ff8a3d", "s2": "#2cc79a", "s3": "#e39cc4", "s4": "#f0c53c",
    "s5": "#9bd4f7", "s6": "#a0a0a0", "s7": "#f2f2f2",
}  # fmt: skip
"""The colours of charts and pages. `s0` to `s7` tell series apart, for colour-blind eyes as well:
Okabe and Ito, *Color Universal Design* (2008); yellow darker on white, all lighter in the dark."""
SERIES = 8
"""Colours for series; the ninth has the first one's."""

Anchor = Literal["start", "middle", "end"]


class Drawing:
    """Shapes, back to front; lengths in units of the drawing, y downwards.

    Args:
        width: Of the drawing, above 0.
        height: Of the drawing, above 0.
        title: What it shows, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._root = Element(
            "svg",
            {
                "class": "chart",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "aria-label": title,
            },
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line."""
        self._shape("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: list[tuple[float, float]], kind: str) -> None:
        """Draw a line through (x, y) points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        SubElement(self._root, "polyline", {"class": kind, "points": joined})

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """Draw a filled rectangle."""
        self._shape("rect", kind, x=x, y=y, width=width, height=height)

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        """Draw a circle."""
        self._shape("circle", kind, cx=x, cy=y, r=radius)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "",
        anchor: Anchor = "start",
        *,
        upwards: bool = False,
    ) -> None:
        """Write one line of text; `y` is its baseline, or with `upwards` `x` is."""
        place = {"text-anchor": anchor, "class": kind}
        if upwards:
            place["transform"] = f"translate({x:.1f} {y:.1f}) rotate(-90)"
        else:
            place |= {"x": f"{x:.1f}", "y": f"{y:.1f}"}
        SubElement(self._root, "text", place).text = text

    def _shape(self, name: str, kind: str, **lengths: float) -> None:
        places = {key: f"{value:.1f}" for key, value in lengths.items()}
        SubElement(self._root, name, {"class": kind, **places})

    def __html__(self) -> str:
        """Return it as a part of a page, whose style it takes. Templates call this."""
        return tostring(self._root, encoding="unicode")

    def document(self) -> str:
        """Return it as an SVG file of its own."""
        size = {"width": f"{self.width:g}", "height": f"{self.height:g}"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **self._root.attrib, **size})
        SubElement(root, "title").text = self.title
        SubElement(root, "style").text = _own_style()
        SubElement(root, "rect", {"class": "card", "width": "100%", "height": "100%"})
        root.extend(self._root)
        return tostring(root, encoding="unicode") + "\n"

    def save(self, path: Path) -> None:
        """Write it as an SVG file, whole or not at all.

        Raises:
            VisionEdgeError: If the file's name does not end in `.svg`.
        """
        check_svg(path)
        with atomic_file(path) as temporary:
            temporary.write_bytes(self.document().encode("utf-8", "backslashreplace"))


def check_svg(path: Path) -> None:
    """Refuse a chart that would not be written, before anything is measured.

    Raises:
        VisionEdgeError: If the file's name does not end in `.svg`.
    """
    if path.suffix.lower() != ".svg":
        raise VisionEdgeError(
            f"{path}: a chart is an .svg, not {path.suffix or 'a file without a suffix'!r}",
            fix=f"--plot {path.with_suffix('.svg')}: browsers, GitHub and editors show it",
        )


def chart_rules() -> str:
    """Return the rules of `chart.css`, whose colours are CSS variables."""
    return (TEMPLATES / "chart.css").read_text(encoding="utf-8")


def colour_variables() -> str:
    """Return the CSS that gives each colour its variable, in light and in dark."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )


def _own_style() -> str:
    """Return the rules with the colours written out."""
    dark = f"@media (prefers-color-scheme: dark) {{\n{_written_out(DARK)}}}\n"
    return _written_out(LIGHT) + dark


def _written_out(colours: Mapping[str, str]) -> str:
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], chart_rules())
