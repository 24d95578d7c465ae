"""Drawings of parts that lie on their side: bolt, spring, elbow, spark plug, wing nut."""

from __future__ import annotations

import numpy as np

from vision_edge.demo.relief import Material, Relief
from vision_edge.demo.shapes import Field, box, capsule, dome, melt, step_up

ZINC = Material("#c4cad3", metal=1.0, rough=0.24, mottle=0.08)


def _thread(x: Field, y: Field, pitch: float, lean: float) -> Field:
    """Ridges of a thread seen from the side: 0 in the root to 1 at the crest."""
    return np.asarray(1.0 - np.abs(((x + lean * y) / pitch % 1.0) * 2.0 - 1.0), np.float32)


def _rod(
    r: Relief, x0: float, x1: float, radius: Field | float, lift: float
) -> tuple[Field, Field]:
    """A turned rod along x with its axis `lift` high: `(signed distance, top)`."""
    size = np.asarray(radius + np.zeros_like(r.x), np.float32)
    distance = np.maximum(np.abs(r.y) - size, np.maximum(x0 - r.x, r.x - x1))
    top = lift + np.sqrt(np.maximum(size * size - r.y * r.y, 0.0))
    return distance, np.asarray(top, np.float32)


def hex_bolt(r: Relief) -> None:
    """Zinc-plated hexagon bolt on its side: head, shank, thread with a pointed end."""
    ridges = _thread(r.x, r.y, 0.085, 0.12) * step_up(0.02, 0.08, r.x)
    taper = 0.07 * step_up(0.90, 0.99, r.x)
    shank, top = _rod(r, -0.62, 0.98, 0.18 + 0.034 * ridges - taper, 0.20)
    r.add(shank, top - 0.01, ZINC, bevel=0.0)
    washer_face, top = _rod(r, -0.66, -0.58, 0.33, 0.20)
    r.add(washer_face, top, ZINC, bevel=0.01)
    head = box(r.x, r.y, (0.16, 0.40), (-0.80, 0.0), radius=0.03)
    faces = 0.54 - 0.62 * np.maximum(np.abs(r.y) - 0.20, 0.0)  # one flat up, two falling away
    chamfer = 0.35 * np.maximum(np.abs(r.x + 0.80) - 0.11, 0.0)
    r.add(head, faces - chamfer, ZINC, bevel=0.025)


def coil_spring(r: Relief) -> None:
    """Compression spring of blued steel wire, eight coils, its ends closed."""
    wire = Material("#aeb4c4", metal=1.0, rough=0.16, mottle=0.03)
    pitch, reach, thick = 0.225, 0.36, 0.056
    index = np.clip(np.round(r.x / pitch), -3, 3)
    for lean, base, hidden in ((0.25, 0.02, True), (-0.25, 0.40, False)):
        for shift in (-1, 0, 1):
            centre = np.clip(index + shift, -4 + hidden, 3) * pitch + (0.0 if hidden else pitch / 2)
            x = r.x - centre
            a, b = (-lean * pitch, -reach), (lean * pitch, reach)
            away = capsule(x, r.y, a, b, 0.0)
            bow = base + 0.16 * np.cos(np.clip(r.y / reach, -1, 1) * 1.5) * (-1 if hidden else 1)
            r.add(away - thick, bow + 0.1 + dome(away, thick), wire, bevel=0.0, behind=True)
    for side in (-1.0, 1.0):
        away = capsule(r.x - side * 0.90, r.y, (0.0, -reach), (0.0, reach), 0.0)
        r.add(away - thick, 0.40 + dome(away, thick), wire, bevel=0.0, behind=True)


def pipe_elbow(r: Relief) -> None:
    """Copper solder elbow: a quarter bend between two flared cups."""
    copper = Material("#e08a5a", metal=1.0, rough=0.22, mottle=0.16)
    centre, bend, tube = (-0.62, 0.62), 0.82, 0.265
    dx, dy = r.x - centre[0], r.y - centre[1]
    away = np.where(
        (dx > 0) & (dy < 0),
        np.abs(np.hypot(dx, dy) - bend),
        np.where(dx <= 0, np.abs(dy + bend), np.abs(dx - bend)),
    )
    end = np.maximum(-dx - 0.02, dy - 0.02)
    r.add(np.maximum(away - tube, end), 0.30 + dome(away, tube), copper, bevel=0.0)
    for along, across in ((dx, dy + bend), (-dy, dx - bend)):
        _cup(r, along, across, copper)


def _cup(r: Relief, along: Field, across: Field, copper: Material) -> None:
    """The wider mouth that a pipe is soldered into, its opening turned to the side."""
    radius = 0.325 - 0.05 * step_up(0.16, 0.26, along)
    outline = np.maximum(np.abs(across) - radius, np.maximum(-0.26 - along, along - 0.26))
    top = 0.32 + np.sqrt(np.maximum(radius * radius - across * across, 0.0))
    r.add(outline, top, copper, bevel=0.01)
    bead = np.maximum(np.abs(across) - 0.345, np.abs(along + 0.245) - 0.035)
    r.add(bead, 0.33 + dome(across, 0.35), copper, bevel=0.02)


def spark_plug(r: Relief) -> None:
    """Spark plug: terminal, ribbed white ceramic, hexagon, thread and electrode."""
    ceramic = Material("#f3f0ea", rough=0.10, mottle=0.0)
    nickel = Material("#cfcac0", metal=1.0, rough=0.2)
    for x0, x1, radius in ((-0.98, -0.86, 0.095), (-0.88, -0.82, 0.06)):
        rod, top = _rod(r, x0, x1, radius, 0.27)
        r.add(rod, top, nickel, bevel=0.02)
    ribs = 0.014 * np.cos(r.x * 66.0) * step_up(-0.42, -0.48, r.x)
    rod, top = _rod(r, -0.84, 0.02, 0.135 + ribs + 0.05 * step_up(-0.42, -0.36, r.x), 0.27)
    r.add(rod, top, ceramic, bevel=0.02)
    blue = Material("#1d4fa3", rough=0.15, mottle=0.0)
    r.paint(np.abs(r.x + 0.23) - 0.022, blue)
    r.paint(np.abs(r.x + 0.16) - 0.010, blue)
    r.add(box(r.x, r.y, (0.135, 0.30), (0.10, 0.0), 0.02), _hexagon_top(r.y), ZINC, bevel=0.03)
    rod, top = _rod(r, 0.23, 0.36, 0.235, 0.27)
    r.add(rod, top, ZINC, bevel=0.03)
    gasket, top = _rod(r, 0.36, 0.42, 0.27, 0.27)
    r.add(gasket, top, Material("#d98d55", metal=1.0, rough=0.3), bevel=0.03)
    ridges = _thread(r.x, r.y, 0.056, 0.10)
    rod, top = _rod(r, 0.42, 0.84, 0.175 + 0.018 * ridges, 0.27)
    r.add(rod, top, nickel, bevel=0.0)
    _electrodes(r, nickel)


def _hexagon_top(y: Field) -> Field:
    """Upper face of a hexagon seen along a flat."""
    return np.asarray(0.56 - 0.6 * np.maximum(np.abs(y) - 0.15, 0.0), np.float32)


def _electrodes(r: Relief, nickel: Material) -> None:
    r.add(box(r.x, r.y, (0.05, 0.06), (0.87, 0.0)), 0.33, Material("#f3f0ea", rough=0.3))
    r.add(box(r.x, r.y, (0.04, 0.028), (0.91, 0.0)), 0.31, nickel)
    hook = np.minimum(
        box(r.x, r.y, (0.075, 0.026), (0.90, -0.135)), box(r.x, r.y, (0.026, 0.09), (0.955, -0.07))
    )
    r.add(hook, 0.34, nickel, bevel=0.02)


def wing_nut(r: Relief) -> None:
    """Stainless wing nut from above: two thin wings on a round, threaded body."""
    stainless = Material("#bfc1c0", metal=1.0, rough=0.40, mottle=0.14)
    u = np.abs(r.x)
    ear = np.hypot((u - 0.70) / 1.25, r.y) - 0.225
    wing = melt(capsule(u, r.y, (0.25, 0.0), (0.70, 0.0), 0.13), ear, 0.12)
    rise = 0.34 + 0.42 * step_up(0.25, 0.85, u)
    r.add(wing, rise, stainless, bevel=0.07)
    r.sink(np.hypot((u - 0.72) / 1.3, r.y) - 0.12, 0.05, slope=0.09)
    rho = np.hypot(r.x, r.y)
    r.add(rho - 0.42, 0.46 - 0.25 * step_up(0.30, 0.44, rho), stainless, bevel=0.05)
    collar = r.add(rho - 0.31, 0.50, stainless, bevel=0.03)
    r.turned(collar, 0.5)
    turns = rho / 0.045 + np.arctan2(r.y, r.x) / 6.2832
    wall = 0.36 + 0.03 * np.abs((turns % 1.0) - 0.5)
    r.add(rho - 0.225, wall, Material("#77797a", metal=1.0, rough=0.35), bevel=0.0)
    r.cut(rho - 0.165, bevel=0.02)
