"""Silent change: told within 50 parts, as what it is, over when it is over, and not in vain."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.pipeline.scene_watch import SceneWatch

WIDTH, HEIGHT, LEARNED, SOON = 160, 120, 110, 50
SCENE = cv2.resize(picture(3, 64), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
cv2.rectangle(SCENE, (0, 45), (WIDTH, 80), (70, 75, 80), -1)  # the belt


class Line:
    """A scene with a part a look, flickering light and noise."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.watch, self.time = SceneWatch(), 0.0
        self._noise = self._rng.normal(0, 2, (16, *SCENE.shape)).astype(np.float32)

    def run(self, parts: int, change: Callable[[Image], Image] | None = None,
            score: float = 0.8) -> int:  # fmt: skip
        """Show so many parts; return after how many another change was told, 0 if none was."""
        for number in range(1, parts + 1):
            self.time += 1.0
            x = int(self._rng.integers(10, 120))
            image = SCENE * np.float32(self._rng.normal(1.0, 0.02)) + self._noise[number % 16]
            image[50:75, x : x + 25] = self._rng.integers(60, 200)
            shown = np.clip(image, 0, 255).astype(np.uint8)
            self.watch.part(float(self._rng.normal(score, 0.05)))
            box = (x, 50, x + 25, 75)
            if self.watch.look(shown if change is None else change(shown), self.time, [box]):
                return number
        return 0


@pytest.fixture
def line() -> Line:
    line = Line()
    assert line.run(LEARNED) == 0
    return line


def moved(image: Image) -> Image:
    matrix = np.float32([[1, 0, 6], [0, 1, 3]])
    return cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "moved": moved,
    "light": lambda image: np.clip(image * 0.6, 0, 255).astype(np.uint8),
    "lens": lambda image: cv2.GaussianBlur(image, (0, 0), 1.5),
    "covered": lambda image: (image * 0.02).astype(np.uint8),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_told_as_what_it_is_and_is_over_when_it_is_over(line: Line, kind: str) -> None:
    assert 0 < line.run(SOON, CHANGES[kind]) <= SOON
    assert line.watch.change is not None
    assert line.watch.change.kind == kind
    assert line.watch.change.fix
    assert 0 < line.run(SOON) <= SOON
    assert line.watch.change is None


def test_scores_that_fall_are_told(line: Line) -> None:
    assert 0 < line.run(SOON, score=0.5) <= SOON
    assert line.watch.change is not None
    assert line.watch.change.kind == "scores"


def test_what_is_acknowledged_is_the_right_state_from_then_on(line: Line) -> None:
    line.run(SOON, moved)
    line.watch.acknowledge()
    assert line.watch.change is None
    assert line.run(LEARNED + SOON, moved) == 0
    assert 0 < line.run(SOON) <= SOON, "back is a change, too"


def test_light_that_drifts_slowly_is_no_change(line: Line) -> None:
    for step in range(25):
        gain = 1.0 - 0.01 * step
        assert line.run(27, lambda image, g=gain: (image * g).astype(np.uint8)) == 0


def test_nothing_is_told_in_vain_on_many_parts() -> None:
    assert Line(7).run(800) == 0


def test_another_size_of_the_picture_is_learned_anew(line: Line) -> None:
    half = (WIDTH // 2, HEIGHT)
    assert line.run(LEARNED, lambda image: cv2.resize(image, half)) == 0
