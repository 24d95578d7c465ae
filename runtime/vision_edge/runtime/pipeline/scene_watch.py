"""Silent change: the camera was moved, the light changed, the lens is dirty or covered.

Nothing fails then, and verdicts get worse. The background tells: what is seen beside the parts, as
the median of some looks, is compared with what it was at first. The scores of the parts tell, too.

A statistic is out of line where it is further from its first values than a floor and than six times
their own scatter; three blocks of the last four must agree. A block is nine looks, at least one a
part, so that a change is told within 36 parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.recognition.part_consensus import Box

Kind = Literal["moved", "light", "lens", "covered", "scores"]
MESSAGES: dict[Kind, tuple[str, str]] = {
    "moved": ("the camera was moved", "put it back, or acknowledge and take a new empty picture"),
    "light": ("the light changed", "see to the lamps; acknowledge if it is to stay so"),
    "lens": ("the lens is dirty or out of focus", "clean it, then check it with the assistant"),
    "covered": ("the camera is covered, or dark", "uncover it; check the light"),
    "scores": ("parts look less like their products", "look at the review queue and the camera"),
}
"""What each kind means, and what to do."""
_SIDE = 120
"""Shorter side at which scenes are compared."""
_LOOKS, _BASELINE = 9, 12
"""Looks of a block; blocks that the first state is taken from."""
_RECENT, _AGREE = 4, 3
"""Of so many last blocks so many must be out of line, or back in it."""
_GAP_S = 0.5
"""Seconds from one look to the next, unless a part was reported in between."""
_SCATTER = 6.0
_FLOORS = {"gain": 0.3, "shift": 1.5, "unlike": 0.12, "dull": 0.35, "scores": 0.08}
"""Least that is told: light by 23 % (a third of a stop), a shift of 1.25 % of the shorter side, a
correlation with the first background lower by 0.12, fine detail lower by 22 %, a median score
lower by 0.08. benchmarks/silent_change.py measures from which size on each is found."""
_DARK = -2.0
"""Stops below which a scene is covered and not just darker."""
_REACH = 18
"""Reduced pixels by which a camera may have been moved to be found again: 15 % of the side."""
_ALIGNED = 0.7
"""By what an unlikeness must shrink at least when a movement is undone."""
_FOLLOW = 0.04
"""Share of a block's light that is taken over into the first state: days are not alike."""

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """What has changed.

    Attributes:
        kind: What it seems to be.
        message: In words, with the measure.
        fix: What to do.
        at: When it was told, in the seconds of the looks.
        parts: Parts reported until then.
    """

    kind: Kind
    message: str
    fix: str
    at: float
    parts: int


@dataclass(frozen=True)
class _Block:
    """What the median of some looks tells, compared with the first state.

    Attributes:
        gain: How much brighter it is, in stops.
        shift: By how many reduced pixels it is shifted.
        aligned: Whether it is alike again once that is undone.
        unlike: 1 less the correlation of the two.
        dull: By how many octaves fine detail is weaker.
        scores: By how much the median score is lower.
    """

    gain: float
    shift: float
    aligned: bool
    unlike: float
    dull: float
    scores: float

    def value(self, name: str) -> float:
        """Return a statistic by its name, as a size."""
        found: float = getattr(self, name)
        return abs(found) if name == "gain" else found


class SceneWatch:
    """Watches one camera.

    Attributes:
        change: What has changed, while it is so and nobody has acknowledged it.
    """

    def __init__(self) -> None:
        self.change: Change | None = None
        self._parts = 0
        self._looked = float("-inf")
        self._reported = False
        self._last: Grey | None = None
        self._begin()

    def _begin(self) -> None:
        self._looks: list[Grey] = []
        self._baseline: list[Grey] = []
        self._first: Grey | None = None
        self._first_score = 0.0
        self._limits: dict[str, float] = {}
        self._last = None
        self._blocks: deque[_Block] = deque(maxlen=_RECENT)
        self._scores: deque[float] = deque(maxlen=25)
        self._medians: list[float] = []

    def acknowledge(self) -> None:
        """Take the state of now for the right one."""
        self.change = None
        self._begin()

    def part(self, score: float) -> None:
        """Note that a part was reported, and how alike it was to the nearest product."""
        self._parts += 1
        self._reported = True
        self._scores.append(score)

    def look(self, image: Image, time: float, parts: Sequence[Box] = ()) -> bool:
        """Take a look at the scene.

        Args:
            image: uint8 (H, W, 3), BGR.
            time: In seconds, rising.
            parts: Boxes of the parts in view, which are left out.

        Returns:
            Whether `change` is another now.
        """
        if not self._reported and time - self._looked < _GAP_S:
            return False
        self._looked, self._reported = time, False
        seen = self._background(image, parts)
        if self._looks and self._looks[0].shape != seen.shape:
            self._looks.clear()
        self._looks.append(seen)
        if len(self._looks) < _LOOKS:
            return False
        median: Grey = np.median(np.stack(self._looks), axis=0).astype(np.float32)
        self._looks.clear()
        self._last = median
        return self._judge(median, time)

    def _background(self, image: Image, parts: Sequence[Box]) -> Grey:
        """Return the scene small and grey; where parts are, as it was last."""
        cv2: Any = require("cv2")
        height, width = image.shape[:2]
        scale = _SIDE / min(height, width)
        size = (max(_SIDE, round(width * scale)), max(_SIDE, round(height * scale)))
        grey = cv2.cvtColor(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
        )
        small: Grey = grey.astype(np.float32)
        last = self._last if self._last is not None and self._last.shape == small.shape else None
        for x0, y0, x1, y1 in parts if last is not None else ():
            margin = 0.15 * max(x1 - x0, y1 - y0)
            rows = slice(max(0, int((y0 - margin) * scale)), int((y1 + margin) * scale) + 1)
            columns = slice(max(0, int((x0 - margin) * scale)), int((x1 + margin) * scale) + 1)
            assert last is not None
            small[rows, columns] = last[rows, columns]
        return small

    def _judge(self, median: Grey, time: float) -> bool:
        """Take a block; return whether there is a change, or no longer one."""
        if self._first is None or self._first.shape != median.shape:
            self._learn(median)
            return False
        block = self._compared(median)
        self._blocks.append(block)
        out = [self._out_of_line(one) for one in self._blocks]
        if self.change is None and sum(out) >= _AGREE and out[-1]:
            self.change = self._told(block, time)
            return True
        if self.change is not None and out[-_AGREE:] == [False] * _AGREE:
            self.change = None
            return True
        if not out[-1]:
            self._first = self._first * 2.0 ** (_FOLLOW * block.gain)
        return False

    def _learn(self, median: Grey) -> None:
        """Take a block of the first state; after enough of them, know it and its scatter."""
        if self._baseline and self._baseline[0].shape != median.shape:
            self._baseline.clear()
        self._baseline.append(median)
        if self._scores:
            self._medians.append(float(np.median(self._scores)))
        if len(self._baseline) < _BASELINE:
            return
        self._first = np.median(np.stack(self._baseline), axis=0).astype(np.float32)
        self._first_score = float(np.median(self._medians)) if self._medians else 0.0
        blocks = [self._compared(one) for one in self._baseline]
        for name, floor in _FLOORS.items():
            values = np.array([block.value(name) for block in blocks])
            if name == "scores":
                values = np.array(self._medians or [0.0])
            middle = 0.0 if name == "scores" else float(np.median(values))
            spread = 1.5 * float(np.median(np.abs(values - np.median(values))))
            self._limits[name] = middle + max(floor, _SCATTER * spread)
        self._baseline.clear()

    def _compared(self, median: Grey) -> _Block:
        assert self._first is not None
        first = self._first
        cv2: Any = require("cv2")
        gain = float(np.median(np.log2((median + 2.0) / (first + 2.0))))
        edges, before = _edges(cv2, median), _edges(cv2, first)
        dy, dx = _displacement(cv2, before, edges)
        unlike = 1.0 - _correlation(before, edges)
        back = np.roll(edges, (-dy, -dx), axis=(0, 1))
        aligned = 1.0 - _correlation(before, back) < _ALIGNED * unlike
        shift = float(np.hypot(dx, dy)) if aligned else 0.0
        fine, was = _fine(cv2, median / 2.0**gain), _fine(cv2, first)
        scores = self._first_score - float(np.median(self._scores)) if self._full else 0.0
        return _Block(gain, shift, aligned, unlike, float(np.log2(was / fine)), scores)

    @property
    def _full(self) -> bool:
        return len(self._scores) == self._scores.maxlen and bool(self._medians)

    def _out_of_line(self, block: _Block) -> bool:
        return any(block.value(name) > limit for name, limit in self._limits.items())

    def _told(self, block: _Block, time: float) -> Change:
        """Say what has changed, from the block that settled it."""
        over = {name for name, limit in self._limits.items() if block.value(name) > limit}
        kind: Kind = "scores"
        if block.gain < _DARK:
            kind = "covered"
        elif "shift" in over or ("unlike" in over and block.aligned):
            kind = "moved"
        elif "gain" in over or abs(block.gain) > 0.5 * self._limits["gain"] > block.dull:
            kind = "light"
        elif over & {"unlike", "dull"}:
            kind = "lens"
        what, fix = MESSAGES[kind]
        measure = {
            "moved": f"by {100 * block.shift / _SIDE:.0f} % of the view",
            "light": f"by {block.gain:+.1f} stops",
            "covered": f"{-block.gain:.1f} stops darker",
            "lens": f"its detail is {100 * (1 - 2.0**-block.dull):.0f} % weaker",
            "scores": f"their median score is lower by {block.scores:.2f}",
        }[kind]
        return Change(kind, f"{what}: {measure}", fix, time, self._parts)


def _edges(cv2: Any, grey: Grey) -> Grey:
    """Return what stands out from its surroundings."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    edges: Grey = smooth - cv2.GaussianBlur(grey, (0, 0), 6.0)
    return edges


def _displacement(cv2: Any, before: Grey, now: Grey) -> tuple[int, int]:
    """Return by how many pixels (down, right) a scene fits best where it was."""
    window = cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F)
    spectrum = np.fft.rfft2(now * window) * np.conj(np.fft.rfft2(before * window))
    found = np.fft.fftshift(np.fft.irfft2(spectrum, s=before.shape))
    middle = np.array(before.shape) // 2
    near = found[tuple(slice(m - _REACH, m + _REACH + 1) for m in middle)]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    return int(y) - _REACH, int(x) - _REACH


def _fine(cv2: Any, grey: Grey) -> float:
    """Return the strength of fine detail; never 0."""
    return float((grey - cv2.GaussianBlur(grey, (0, 0), 1.5)).std()) + 0.05


def _correlation(a: Grey, b: Grey) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6))
