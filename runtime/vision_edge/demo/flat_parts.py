"""Drawings of plates and assemblies: bracket, circuit board, plug connector, blade fuse."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vision_edge.demo.relief import Material, Relief
from vision_edge.demo.shapes import Field, box, capsule, circle, dome, polygon

GOLD = Material("#f0c04a", metal=1.0, rough=0.18, mottle=0.02)
TIN = Material("#d5d8da", metal=1.0, rough=0.30, mottle=0.04)
BLACK = Material("#141416", rough=0.38, mottle=0.03)

_GREEN, _COPPER = "#0b5a2c", "#1b7a3f"


def l_bracket(r: Relief) -> None:
    """Galvanised angle bracket: an L of sheet with ribbed corner and five screw holes."""
    zinc = Material("#aab4bd", metal=1.0, rough=0.42, brushed=0.10, mottle=0.22)
    corners = [(-0.70, -0.72), (-0.28, -0.72), (-0.28, 0.14), (-0.16, 0.26), (0.74, 0.26)]
    plate = polygon(r.x, r.y, [*corners, (0.74, 0.58), (0.64, 0.68), (-0.60, 0.68), (-0.70, 0.58)])
    r.add(plate - 0.03, 0.12, zinc, bevel=0.03)
    rib = capsule(r.x, r.y, (-0.30, 0.28), (-0.52, 0.50), 0.0)
    r.add(rib - 0.055, 0.11 + dome(rib, 0.056) * 1.3, zinc, bevel=0.0)
    for cx, cy in ((-0.49, -0.53), (-0.49, 0.06), (0.05, 0.47), (0.56, 0.47)):
        r.sink(circle(r.x, r.y, 0.125, cx, cy), 0.05, slope=0.08)
        r.cut(circle(r.x, r.y, 0.085, cx, cy), bevel=0.01)
    r.cut(capsule(r.x, r.y, (-0.49, -0.30), (-0.49, -0.18), 0.065), bevel=0.02)


def circuit_board(r: Relief) -> None:
    """Green controller board: processor, memory, capacitors, a header, screw holes."""
    mask = Material(_GREEN, rough=0.18, mottle=0.03)
    board = box(r.x, r.y, (0.84, 0.54), radius=0.05)
    r.add(board, 0.07, mask, bevel=0.012)
    picture, where = _artwork()
    r.decal(picture, where, (-0.84, -0.54, 0.84, 0.54), Material(_GREEN, rough=0.3, mottle=0.0))
    for sx in (-0.75, 0.75):
        for sy in (-0.45, 0.45):
            r.paint(circle(r.x, r.y, 0.075, sx, sy), GOLD)
            r.cut(circle(r.x, r.y, 0.045, sx, sy), bevel=0.0)
    _chip(r, (-0.16, -0.02), 0.21, 9)
    _chip(r, (0.36, 0.24), 0.13, 5)
    for cx, cy in ((0.36, -0.28), (0.60, -0.28)):
        _capacitor(r, cx, cy)
    _header(r)
    _small_parts(r)


@lru_cache(maxsize=1)
def _artwork() -> tuple[npt.NDArray[np.float32], Field]:
    """Tracks, vias and print of the board: linear BGR `(352, 548, 3)` and where they lie."""
    rng = np.random.default_rng(7)
    image = np.zeros((352, 548, 3), np.uint8)
    image[:] = _ink(_GREEN)
    for _ in range(70):
        _track(image, rng)
    white = _ink("#e8ece6")
    cv2.putText(image, "VE-CTRL 2.1", (60, 330), cv2.FONT_HERSHEY_SIMPLEX, 0.72, white, 2)
    cv2.rectangle(image, (360, 40), (505, 125), white, 2)
    cv2.rectangle(image, (135, 85), (308, 255), white, 2)
    cv2.putText(image, "U1", (318, 105), cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1)
    return (image.astype(np.float32) / 255.0) ** 2.2, np.ones(image.shape[:2], np.float32)


def _ink(colour: str) -> tuple[int, int, int]:
    """`"#rrggbb"` as OpenCV's drawing functions want it: 8-bit (blue, green, red)."""
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)


def _track(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> None:
    """One copper track under the lacquer: across, then at 45 degrees, to a via."""
    x, y = int(rng.integers(10, 530)), int(rng.integers(10, 340))
    run, rise = int(rng.integers(-120, 120)), int(rng.integers(-50, 50))
    bend = (x + run, y)
    end = (bend[0] + abs(rise), y + rise)
    cv2.line(image, (x, y), bend, _ink(_COPPER), 3)
    cv2.line(image, bend, end, _ink(_COPPER), 3)
    cv2.circle(image, end, 5, _ink("#b9b79a"), -1)
    cv2.circle(image, end, 2, _ink("#101810"), -1)


def _chip(r: Relief, centre: tuple[float, float], half: float, legs: int) -> None:
    """A square black package with `legs` tin legs on every side."""
    x, y = r.x - centre[0], r.y - centre[1]
    pitch = 2.0 * half * 0.86 / (legs - 1)
    for u, v in ((x, y), (y, x)):
        near = np.clip(np.round(v / pitch), -(legs // 2), legs // 2) * pitch
        leg = np.maximum(np.abs(v - near) - pitch * 0.27, np.abs(u) - half - 0.055)
        r.add(leg, 0.10, TIN, bevel=0.01)
    r.add(box(x, y, (half, half), radius=0.01), 0.17, BLACK, bevel=0.02)
    r.sink(circle(x, y, 0.025, -half + 0.06, -half + 0.06), 0.012)


def _capacitor(r: Relief, cx: float, cy: float) -> None:
    """A standing aluminium capacitor on its black base, the minus side marked."""
    r.add(box(r.x, r.y, (0.115, 0.115), (cx, cy), 0.03), 0.14, BLACK)
    can = r.add(circle(r.x, r.y, 0.10, cx, cy), 0.40, TIN, bevel=0.03)
    r.turned(can, 0.3, (cx, cy))
    dark = np.maximum(circle(r.x, r.y, 0.085, cx, cy), r.x - cx + 0.035)
    r.paint(dark, Material("#23262c", rough=0.4))


def _header(r: Relief) -> None:
    """Two rows of eight gold pins in a black strip along the left edge."""
    r.add(box(r.x, r.y, (0.085, 0.33), (-0.64, 0.0), 0.01), 0.20, BLACK, bevel=0.015)
    pitch = 0.08
    near = np.clip(np.round(r.y / pitch - 0.5), -4, 3) * pitch + 0.5 * pitch
    for cx in (-0.68, -0.60):
        pin = np.maximum(np.abs(r.x - cx), np.abs(r.y - near)) - 0.02
        r.add(pin, 0.40, GOLD, bevel=0.015)


def _small_parts(r: Relief) -> None:
    """Chip resistors and capacitors, a lit-looking crystal and an edge connector."""
    tan = Material("#b98d5e", rough=0.4)
    for k, (cx, cy) in enumerate(
        [(0.13, 0.38), (0.23, 0.38), (-0.44, 0.38), (-0.44, 0.28), (0.15, -0.42), (0.05, -0.42)]
    ):
        r.add(box(r.x, r.y, (0.028, 0.045), (cx, cy)), 0.11, TIN, bevel=0.01)
        r.add(box(r.x, r.y, (0.030, 0.025), (cx, cy)), 0.115, tan if k % 2 else BLACK, bevel=0.01)
    r.add(box(r.x, r.y, (0.10, 0.045), (-0.25, -0.41), 0.045), 0.17, TIN, bevel=0.03)
    r.add(box(r.x, r.y, (0.10, 0.12), (0.76, 0.02), 0.01), 0.22, TIN, bevel=0.02)
    r.sink(box(r.x, r.y, (0.05, 0.09), (0.82, 0.02)), 0.08)


def dsub_connector(r: Relief) -> None:
    """Nine-pole D-sub socket: tinned shell with ears, a D of white plastic, nine holes."""
    shell = Material("#c9ccd0", metal=1.0, rough=0.26, mottle=0.06)
    r.add(box(r.x, r.y, (0.96, 0.36), radius=0.06), 0.10, shell, bevel=0.03)
    for side in (-1.0, 1.0):
        nut = r.add(circle(r.x, r.y, 0.135, 0.79 * side, 0.0), 0.24, GOLD, bevel=0.04)
        r.turned(nut, 0.5, (0.79 * side, 0.0))
        r.cut(circle(r.x, r.y, 0.07, 0.79 * side, 0.0), bevel=0.02)
    dee = polygon(r.x, r.y, [(-0.50, -0.20), (0.50, -0.20), (0.43, 0.20), (-0.43, 0.20)])
    r.add(dee - 0.09, 0.36, shell, bevel=0.04)
    r.add(dee - 0.055, 0.33, Material("#1746a2", rough=0.35, mottle=0.02), bevel=0.0)
    for count, cy in ((5, -0.10), (4, 0.10)):
        first = -0.105 * (count - 1)
        near = np.clip(np.round((r.x - first) / 0.21), 0, count - 1) * 0.21 + first
        hole = np.hypot(r.x - near, r.y - cy)
        r.paint(hole - 0.062, GOLD)
        r.paint(hole - 0.042, Material("#050506", rough=0.9))


def blade_fuse(r: Relief) -> None:
    """Automotive blade fuse lying flat: clear orange body, its link showing, two blades."""
    x, y = 1.12 * r.x, 1.12 * r.y + 0.10
    body = Material("#e8590c", rough=0.12, mottle=0.02)
    for side in (-1.0, 1.0):
        blade = box(x, y, (0.17, 0.50), (0.47 * side, 0.45), 0.02)
        tip = np.abs(x - 0.47 * side) + 0.8 * (y - 0.95) - 0.12
        r.add(np.maximum(blade, tip), 0.14, TIN, bevel=0.03)
    lower = box(x, y, (0.66, 0.32), (0.0, -0.10), 0.04)
    upper = box(x, y, (0.84, 0.20), (0.0, -0.52), 0.05)
    r.add(lower, 0.26, body, bevel=0.05)
    r.add(upper, 0.34, body, bevel=0.06)
    r.sink(box(x, y, (0.44, 0.19), (0.0, -0.08), 0.03), 0.06, slope=0.03)
    link = np.abs(np.hypot(x, (y + 0.02) * 1.3) - 0.22) - 0.03
    link = np.maximum(link, y + 0.02)
    ends = np.minimum(
        box(x, y, (0.10, 0.14), (-0.30, -0.02)), box(x, y, (0.10, 0.14), (0.30, -0.02))
    )
    r.paint(np.minimum(link, ends), Material("#e6b7a0", metal=0.7, rough=0.3), 0.75)
    picture, where = _rating()
    r.decal(picture, where, (-0.23, -0.68, 0.23, -0.43), Material("#ffffff", rough=0.3))


@lru_cache(maxsize=1)
def _rating() -> tuple[npt.NDArray[np.float32], Field]:
    """The fuse's "40" moulded on its back: white `(70, 130, 3)` and where it is."""
    where = np.zeros((70, 130), np.uint8)
    cv2.putText(where, "40", (14, 60), cv2.FONT_HERSHEY_DUPLEX, 2.1, 255, 7, cv2.LINE_AA)
    white = np.full((70, 130, 3), 0.85, np.float32)
    return white, np.asarray(where, np.float32) / np.float32(255.0)
