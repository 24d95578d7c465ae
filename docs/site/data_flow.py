"""Draw docs/images/data-flow.svg: from adapters to verdicts, with the room that does each step.

python docs/site/data_flow.py
"""

from __future__ import annotations

from pathlib import Path

from vision_edge.runtime.reports.drawing import Drawing

OUT = Path(__file__).parents[1] / "images/data-flow.svg"
LANES = (
    ("Server: many LoRAs become one", "s0", (
        ("hub", "adapters"), ("average", "averaging"), ("invert", "inversion"),
        ("pool", "pool"), ("meta-learn", "meta"), ("meta-LoRA", "adapters"),
    )),
    ("Server: the model is exported, or refused", "s2", (
        ("merge", "model"), ("ONNX", "graph"), ("precision", "precision"),
        ("gate", "gate"), ("bundle", "bundle"),
    )),
    ("Device: a snapshot registers a product", "s1", (
        ("snapshot", ""), ("quality", "images"), ("prepare", "images"),
        ("session", "inference"), ("embedding", "pipeline"), ("gallery", "gallery"),
    )),
    ("Device: a frame gets a verdict", "s1", (
        ("source", "sources"), ("latest frame", "sources"), ("prepare", "images"),
        ("session", "inference"), ("prototypes", "recognition"), ("verdict", "recognition"),
        ("sinks", "sinks"),
    )),
)  # fmt: skip
WIDTH, BOX, TALL, STEP, LANE, LEFT, TOP = 944.0, 104.0, 44.0, 130.0, 108.0, 32.0, 32.0


def box_at(lane: int, place: int) -> tuple[float, float]:
    """Return the upper left corner of a box."""
    return LEFT + STEP * place, TOP + LANE * lane + 14


def draw() -> Drawing:
    """Return the picture."""
    title = "Data flow: from a hub of adapters over a bundle to verdicts"
    drawing = Drawing(WIDTH, TOP + LANE * len(LANES) - 28, title)
    for lane, (heading, kind, boxes) in enumerate(LANES):
        drawing.words(LEFT, TOP + LANE * lane, heading, "heading")
        for place, (name, room) in enumerate(boxes):
            _box(drawing, *box_at(lane, place), name, room, kind)
            if place:
                x, y = box_at(lane, place)
                _arrow(drawing, [(x - STEP + BOX, y + TALL / 2), (x, y + TALL / 2)])
    _between(drawing, (0, 5), (1, 0))
    _between(drawing, (1, 4), (2, 3))
    _between(drawing, (2, 5), (3, 4))
    return drawing


def _box(drawing: Drawing, x: float, y: float, name: str, room: str, kind: str) -> None:
    corners = [(x, y), (x + BOX, y), (x + BOX, y + TALL), (x, y + TALL), (x, y)]
    drawing.path(corners, f"thick {kind}")
    drawing.words(x + BOX / 2, y + (20 if room else 27), name, "strong", "middle")
    if room:
        drawing.words(x + BOX / 2, y + 36, room, "small", "middle")


def _between(drawing: Drawing, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw an arrow from below a box to the next lane: above a box there, or left of its first."""
    (x1, y1), (x2, y2) = box_at(*start), box_at(*end)
    x1, y1 = x1 + BOX / 2, y1 + TALL
    down, above = [(x1, y1), (x1, y1 + 12)], x2 + BOX / 2
    if end[1]:
        _arrow(drawing, [*down, (above, y1 + 12), (above, y2)])
    else:
        middle = y2 + TALL / 2
        _arrow(drawing, [*down, (6, y1 + 12), (6, middle), (x2, middle)])


def _arrow(drawing: Drawing, points: list[tuple[float, float]]) -> None:
    drawing.path(points, "axis")
    (x1, y1), (x, y) = points[-2:]
    along = (x - x1, y - y1)
    size = max(abs(along[0]), abs(along[1])) / 6
    dx, dy = along[0] / size, along[1] / size
    drawing.path([(x - dx - dy, y - dy - dx), (x, y), (x - dx + dy, y - dy + dx)], "axis")


if __name__ == "__main__":
    draw().save(OUT)
