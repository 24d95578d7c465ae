"""A drawing of lines, boxes and words, written as SVG, or as PNG where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.system.files import atomic_file

Anchor = Literal["start", "middle", "end"]
_ALIGNED = {"start": "left", "middle": "center", "end": "right"}
_DPI = 200.0


@dataclass(frozen=True)
class Line:
    """A straight line; lengths in units of the drawing, y downwards."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1.0


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True)
class Words:
    """A line of text; `y` is its baseline."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    size: float = 12.0
    bold: bool = False
    colour: str = "#222222"


Shape = Line | Box | Dot | Words


@dataclass(frozen=True)
class Drawing:
    """Shapes, back to front, on a white page.

    Attributes:
        width: Of the page.
        height: Of the page.
        title: What it shows, for those who cannot see it.
        shapes: The shapes.
    """

    width: float
    height: float
    title: str
    shapes: Sequence[Shape]

    def save(self, path: Path) -> None:
        """Write it, by the path's suffix: `.svg` or `.png`.

        Raises:
            VisionEdgeError: If it is another.
            MissingExtraError: If it is `.png` and matplotlib is absent.
        """
        check_suffix(path)
        if path.suffix.lower() == ".svg":
            data = self.to_svg().encode()
            with atomic_file(path) as temporary:
                temporary.write_bytes(data)
            return
        figure = self._figure()
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)

    def to_svg(self) -> str:
        """Return it as an SVG document."""
        body = "\n".join(_svg(shape) for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" '
            'font-family="system-ui, Helvetica, Arial, sans-serif">\n'
            f"<title>{escape(self.title)}</title>\n"
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
        )

    def _figure(self) -> Any:
        """Return it as a matplotlib figure; a unit is a pixel of 1/100 inch."""
        figures = require("matplotlib.figure")
        figure = figures.Figure(figsize=(self.width / 100, self.height / 100))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.axis("off")
        for order, shape in enumerate(self.shapes, start=1):
            _on_axes(axes, shape, order)
        return figure


def check_suffix(path: Path) -> None:
    """Refuse a plot that could not be written, before anything is measured.

    Raises:
        VisionEdgeError: If the suffix is neither `.svg` nor `.png`.
        MissingExtraError: If it is `.png` and matplotlib is absent.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise VisionEdgeError(
            f"{path}: a plot is .svg or .png, not {suffix!r}", fix="--plot bench.svg"
        )
    if suffix == ".png":
        require("matplotlib")


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        return (
            f'<line x1="{shape.x1:.2f}" y1="{shape.y1:.2f}" x2="{shape.x2:.2f}" '
            f'y2="{shape.y2:.2f}" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'
        )
    if isinstance(shape, Box):
        return (
            f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" '
            f'height="{shape.height:.2f}" fill="{shape.colour}"/>'
        )
    if isinstance(shape, Dot):
        return (
            f'<circle cx="{shape.x:.2f}" cy="{shape.y:.2f}" r="{shape.radius:g}" '
            f'fill="{shape.colour}"/>'
        )
    weight = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" text-anchor="{shape.anchor}" '
        f'font-size="{shape.size:g}" fill="{shape.colour}"{weight}>{escape(shape.text)}</text>'
    )


def _on_axes(axes: Any, shape: Shape, order: int) -> None:
    if isinstance(shape, Line):
        axes.plot(
            [shape.x1, shape.x2],
            [shape.y1, shape.y2],
            color=shape.colour,
            linewidth=shape.width * 0.72,
            solid_capstyle="butt",
            zorder=order,
        )
    elif isinstance(shape, (Box, Dot)):
        patch = _patch(shape)
        patch.set(facecolor=shape.colour, linewidth=0, zorder=order)
        axes.add_patch(patch)
    else:
        axes.text(
            shape.x,
            shape.y,
            shape.text.replace("$", r"\$"),
            ha=_ALIGNED[shape.anchor],
            va="baseline",
            fontsize=shape.size * 0.72,
            fontweight="bold" if shape.bold else "normal",
            color=shape.colour,
            zorder=order,
        )


def _patch(shape: Box | Dot) -> Any:
    patches = require("matplotlib.patches")
    if isinstance(shape, Box):
        return patches.Rectangle((shape.x, shape.y), shape.width, shape.height)
    return patches.Circle((shape.x, shape.y), shape.radius)
