"""Drawings of parts that are round from above: gear, nut, bearing, flange and the like."""

from __future__ import annotations

import math

import numpy as np

from vision_edge.demo.relief import Material, Relief
from vision_edge.demo.shapes import (
    box,
    capsule,
    circle,
    dome,
    fold_angle,
    melt,
    regular,
    ring,
    step_up,
)

STEEL = Material("#c9cdd2", metal=1.0, rough=0.28)
DARK_STEEL = Material("#8d9096", metal=1.0, rough=0.38)
BRASS = Material("#e2b652", metal=1.0, rough=0.24)
OILED = Material("#3a3530", metal=1.0, rough=0.45, mottle=0.15)


def spur_gear(r: Relief) -> None:
    """Steel gear wheel: 20 teeth, a lightened web, a hub with a keyed bore."""
    steel = Material("#a9abb0", metal=1.0, rough=0.34, mottle=0.07)
    u, v = fold_angle(r.x, r.y, 20)
    flank = np.abs(v) - (0.088 - 0.30 * np.maximum(u - 0.82, 0.0))
    tooth = np.maximum(flank, u - 0.99)
    cover = r.add(np.minimum(circle(r.x, r.y, 0.845), tooth), 0.24, steel, bevel=0.025)
    r.turned(cover, 0.30)
    r.sink(ring(r.x, r.y, 0.36, 0.70), 0.10, slope=0.04)
    u, v = fold_angle(r.x, r.y, 6)
    r.cut(circle(u, v, 0.115, cx=0.53), bevel=0.02)
    hub = r.add(circle(r.x, r.y, 0.33), 0.32, STEEL, bevel=0.03)
    r.turned(hub, 0.6)
    keyway = box(r.x, r.y, (0.05, 0.10), (0.0, -0.17))
    r.cut(np.minimum(circle(r.x, r.y, 0.17), keyway), bevel=0.025)


def hex_nut(r: Relief) -> None:
    """Yellow-zinc hexagon nut: chamfered corners and a threaded bore."""
    zinc = Material("#d9b45e", metal=1.0, rough=0.26, mottle=0.12)
    rho = np.hypot(r.x, r.y)
    chamfer = 0.30 * np.maximum(rho - 0.80, 0.0)
    cover = r.add(regular(r.x, r.y, 6, 0.86), 0.50 - chamfer, zinc, bevel=0.03)
    r.turned(cover * step_up(0.82, 0.78, rho), 0.45)
    r.sink(circle(r.x, r.y, 0.555), 0.05, slope=0.07)
    angle = np.arctan2(r.y, r.x) / (2.0 * math.pi)
    turns = (rho - 0.44) / 0.055 + angle
    wall = 0.45 - 0.38 * (1.0 - step_up(0.42, 0.54, rho)) + 0.035 * np.abs((turns % 1.0) - 0.5)
    r.add(circle(r.x, r.y, 0.53), wall, Material("#a88a45", metal=1.0, rough=0.3), bevel=0.0)
    r.cut(circle(r.x, r.y, 0.43), bevel=0.02)


def washer(r: Relief) -> None:
    """Flat washer of bright steel with the fan-shaped glints of a turned face."""
    bright = Material("#d8dbde", metal=1.0, rough=0.22, mottle=0.04)
    cover = r.add(circle(r.x, r.y, 0.98), 0.10, bright, bevel=0.05)
    r.turned(cover, 0.75)
    r.cut(circle(r.x, r.y, 0.50), bevel=0.03)


def ball_bearing(r: Relief) -> None:
    """Open ball bearing: two ground rings, ten mirror-bright balls, a brass cage."""
    ground = Material("#d3d6da", metal=1.0, rough=0.16, mottle=0.03)
    outer = r.add(circle(r.x, r.y, 0.98), 0.40, ground, bevel=0.06)
    r.turned(outer, 0.65)
    r.sink(ring(r.x, r.y, 0.48, 0.77), 0.26, slope=0.02)
    r.paint(ring(r.x, r.y, 0.48, 0.77), OILED)
    r.add(ring(r.x, r.y, 0.575, 0.675), 0.24, BRASS, bevel=0.03)
    u, v = fold_angle(r.x, r.y, 10)
    away = np.hypot(u - 0.625, v)
    r.add(away - 0.155, 0.24, BRASS, bevel=0.03)
    ball = Material("#eef1f4", metal=1.0, rough=0.05, mottle=0.0)
    r.add(away - 0.125, 0.24 + dome(away, 0.126), ball, bevel=0.0)
    inner = r.add(circle(r.x, r.y, 0.47), 0.40, ground, bevel=0.04)
    r.turned(inner, 0.65)
    r.cut(circle(r.x, r.y, 0.30), bevel=0.05)


def flange(r: Relief) -> None:
    """Blue-anodised aluminium flange: a stepped hub and six counterbored holes."""
    blue = Material("#1f63d6", metal=0.85, rough=0.30, mottle=0.05)
    bare = Material("#dfe3e8", metal=1.0, rough=0.25)
    cover = r.add(circle(r.x, r.y, 0.98), 0.16, blue, bevel=0.03)
    r.turned(cover, 0.45)
    u, v = fold_angle(r.x, r.y, 6, phase=0.26)
    r.sink(circle(u, v, 0.155, cx=0.76), 0.06, slope=0.015)
    hub = r.add(circle(r.x, r.y, 0.53), 0.34, blue, bevel=0.04)
    r.turned(hub, 0.55)
    lip = r.add(ring(r.x, r.y, 0.33, 0.42), 0.40, bare, bevel=0.02)
    r.turned(lip, 0.8)
    r.cut(circle(u, v, 0.085, cx=0.76), bevel=0.015)
    r.cut(circle(r.x, r.y, 0.33), bevel=0.02)


def o_ring(r: Relief) -> None:
    """Green rubber sealing ring, a little out of round."""
    rubber = Material("#1f9b45", rough=0.22, mottle=0.06)
    away = np.abs(np.hypot(r.x * 1.02, r.y * 1.07) - 0.88)
    r.add(away - 0.105, 0.105 + dome(away, 0.106), rubber, bevel=0.0)
    seam = np.maximum(away - 0.106, np.abs(r.x + 0.2) - 0.008) + (r.y < 0) * 1.0
    r.paint(seam, Material("#0f6b2c", rough=0.6), 0.7)


def bottle_cap(r: Relief) -> None:
    """Red crown cork with 21 flutes and a printed star."""
    red = Material("#b51319", rough=0.14, mottle=0.03)
    white = Material("#dedbd2", rough=0.14, mottle=0.0)
    rho, angle = np.hypot(r.x, r.y), np.arctan2(r.y, r.x)
    flute = np.cos(21.0 * angle)
    rim = step_up(0.66, 0.95, rho)
    edge = rho - (0.925 + 0.050 * flute)
    top = 0.34 - 0.26 * step_up(0.70, 1.0, rho) + 0.055 * flute * rim
    r.add(edge, top + 0.02 * (1.0 - rho**2), red, bevel=0.03)
    r.paint(np.abs(rho - 0.60) - 0.022, white)
    u, v = fold_angle(r.x, r.y, 5, phase=-math.pi / 2)
    r.paint(0.81 * np.abs(v) * 1.25 + 0.55 * u - 0.235, white)
    r.paint(step_up(0.9, 1.0, rho) * -0.02 + 0.012 - (rho > 0.955) * 0.02, STEEL, 0.6)


def star_knob(r: Relief) -> None:
    """Yellow five-lobed clamping knob with a steel insert."""
    yellow = Material("#f2b705", rough=0.30, mottle=0.04)
    u, v = fold_angle(r.x, r.y, 5)
    lobes = melt(circle(r.x, r.y, 0.62), circle(u, v, 0.235, cx=0.74), 0.22)
    r.add(lobes, 0.56, yellow, bevel=0.22)
    r.add(circle(r.x, r.y, 0.40), 0.62, yellow, bevel=0.06)
    r.sink(ring(r.x, r.y, 0.30, 0.33), 0.03, slope=0.015)
    insert = r.add(circle(r.x, r.y, 0.19), 0.64, STEEL, bevel=0.03)
    r.turned(insert, 0.7)
    r.sink(regular(r.x, r.y, 6, 0.095), 0.20, slope=0.015)
    r.paint(regular(r.x, r.y, 6, 0.095), OILED)


def impeller(r: Relief) -> None:
    """White plastic fan wheel: seven swept blades on a hub with a pressed-in bush."""
    white = Material("#d3d7d6", rough=0.30, mottle=0.03)
    rho = np.hypot(r.x, r.y)
    twist = 1.05 * rho  # the blades sweep back as they go out
    bx = r.x * np.cos(twist) - r.y * np.sin(twist)
    by = r.x * np.sin(twist) + r.y * np.cos(twist)
    u, v = fold_angle(bx, by, 7)
    blade = np.maximum(np.abs(v) - (0.07 + 0.20 * u), rho - 0.97)
    pitch = 0.22 + 0.75 * v  # each blade is a ramp, one edge high
    r.add(blade, pitch, white, bevel=0.02)
    r.add(circle(r.x, r.y, 0.36), 0.52, white, bevel=0.12)
    bush = r.add(circle(r.x, r.y, 0.14), 0.55, BRASS, bevel=0.02)
    r.turned(bush, 0.7)
    r.paint(circle(r.x, r.y, 0.065), OILED)
    r.sink(circle(r.x, r.y, 0.065), 0.3)
    for k in range(3):
        a = 2.1 * k
        end = (0.30 * math.cos(a), 0.30 * math.sin(a))
        start = (0.20 * math.cos(a), 0.20 * math.sin(a))
        r.sink(capsule(r.x, r.y, start, end, 0.018), 0.05)
