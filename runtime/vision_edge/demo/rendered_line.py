"""The running line: frames of a schedule, each with its truth, in any order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vision_edge.demo.belt import SHUTTER, Belt
from vision_edge.demo.camera import Camera
from vision_edge.demo.hand import hand_sprite
from vision_edge.demo.machine_parts import PART_NAMES, check_label
from vision_edge.demo.schedule import HandReach, PartPass, Schedule, make_schedule
from vision_edge.demo.settings import (
    ConveyorConfig,
    FrameTruth,
    PartTruth,
    inspection_window,
    window_side,
)
from vision_edge.demo.sprites import Image, Sprite, clip_to, part_sprite, tight_box

_POSE, _HAND = 31, 32
_KEPT = 12
"""Cut-outs kept: more than are ever in one frame, few enough for an hour of video."""


class _Recent:
    """The last few things made, by key."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._held: OrderedDict[tuple[int, int], Sprite] = OrderedDict()

    def get(self, key: tuple[int, int], make: Callable[[], Sprite]) -> Sprite:
        """Return what is held under `key`, made now if need be."""
        if key not in self._held:
            self._held[key] = make()
            if len(self._held) > self._keep:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]


@lru_cache(maxsize=4)
def belt_and_camera(config: ConveyorConfig) -> tuple[Belt, Camera]:
    """The line of a configuration, made once."""
    return Belt(config), Camera(config)


class Conveyor:
    """A stretch of production: frames and their truth, by number or one after another.

    Args:
        config: The line.
        parts: Labels from `PART_NAMES` that pass, each once a round, reshuffled every round.
        passes: Rounds, at least 1; ignored when `length` is given.
        length: Frames, at least 1; as many rounds as fill them. Without it, the belt stops
            when the last part has left.

    Raises:
        ValueError: If `parts` is empty, repeats a label or holds an unknown one, or `passes`
            or `length` is below 1.
    """

    def __init__(
        self,
        config: ConveyorConfig | None = None,
        parts: Sequence[str] = PART_NAMES,
        *,
        passes: int = 1,
        length: int | None = None,
    ) -> None:
        self.config = config if config is not None else ConveyorConfig()
        self.parts = _checked(parts)
        for name, value in (("passes", passes), ("length", length)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}; ask for 1 or more")
        self.schedule: Schedule = make_schedule(self.config, self.parts, passes, length)
        self._belt, self._camera = belt_and_camera(self.config)
        self._recent = _Recent(_KEPT)
        self._window = inspection_window(self.config)
        self._stations = np.array([p.station for p in self.schedule.parts])

    def __len__(self) -> int:
        return self.schedule.length

    def __getitem__(self, frame: int) -> tuple[Image, FrameTruth]:
        """Render one frame.

        Args:
            frame: Its number, 0 to `len(self) - 1`.

        Returns:
            `(image, truth)`: uint8 BGR `(height, width, 3)`, freshly made, and what is in it.

        Raises:
            IndexError: If there is no such frame.
        """
        self._check_frame(frame)
        canvas = self._belt.view(self._offset(frame))
        middle = self.config.width / 2
        for item in self._present(frame):
            sprite, left, top = self._placed(item, frame)
            lamp = (left + sprite.cover.shape[1] / 2 - middle) / middle
            sprite.blend(canvas, left, top, lamp)
        for reach in self._reaching(frame):
            sprite, left, top = self._stretched(reach, frame)
            sprite.blend(canvas, left, top)
        return self._camera.expose(canvas, frame), self.truth(frame)

    def __iter__(self) -> Iterator[tuple[Image, FrameTruth]]:
        return self.frames()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Image, FrameTruth]]:
        """Render frames from `start` up to, not including, `stop` (the end if None)."""
        for frame in range(start, len(self) if stop is None else min(stop, len(self))):
            yield self[frame]

    def truth(self, frame: int) -> FrameTruth:
        """Say what is in a frame, without rendering it.

        Raises:
            IndexError: If there is no such frame.
        """
        self._check_frame(frame)
        hidden = self._hidden(frame)
        hand = hidden is not None
        parts = []
        for item in self._present(frame):
            sprite, left, top = self._placed(item, frame)
            found = part_truth(item, sprite, (left, top), self.config, hidden)
            if found is not None:
                parts.append(found)
        return FrameTruth(frame, tuple(parts), hand)

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < len(self):
            raise IndexError(f"frame must be from 0 to {len(self) - 1}, got {frame!r}")

    def _offset(self, frame: int) -> int:
        """Belt travel in whole pixels, so that parts lie still on the belt."""
        return round(frame * self.config.speed)

    def _present(self, frame: int) -> list[PartPass]:
        """Passes that may touch the frame, the furthest along first."""
        offset, margin = self._offset(frame), window_side(self.config)
        first = int(np.searchsorted(self._stations, offset - self.config.width - margin))
        last = int(np.searchsorted(self._stations, offset + margin, side="right"))
        return list(self.schedule.parts[first:last])

    def _placed(self, item: PartPass, frame: int) -> tuple[Sprite, int, int]:
        """A pass's cut-out and the column and row of its arrays' corner."""
        config, side = self.config, window_side(self.config)
        rng = np.random.default_rng((config.seed, _POSE, item.instance))
        sideways = round(float(rng.uniform(-0.07, 0.07)) * side)
        blur = SHUTTER * config.speed
        sprite = self._recent.get(
            (_POSE, item.instance), lambda: part_sprite(item.label, side, rng, blur=blur)
        )
        rows, columns = sprite.cover.shape
        left = self._offset(frame) - item.station - columns // 2
        return sprite, left, config.height // 2 + sideways - rows // 2

    def _reaching(self, frame: int) -> list[HandReach]:
        return [h for h in self.schedule.hands if h.extension(frame) > 0.0]

    def _stretched(self, reach: HandReach, frame: int) -> tuple[Sprite, int, int]:
        """A reach's cut-out and its corner, so that the fingertips are `depth` in at most."""
        config, side = self.config, window_side(self.config)
        rng = np.random.default_rng((config.seed, _HAND, reach.number))
        sprite = self._recent.get(
            (_HAND, reach.number), lambda: hand_sprite(side, reach.from_top, rng)
        )
        columns = sprite.cover.shape[1]
        # The sleeve's cut end must stay outside, in frames of any shape.
        deepest = min(reach.depth * config.height, 0.85 * (sprite.box[3] - sprite.box[1]))
        inside = round(reach.extension(frame) * deepest)
        fingertips = sprite.box[3] if reach.from_top else sprite.box[1]
        top = (inside if reach.from_top else config.height - inside) - fingertips
        return sprite, round(reach.x * config.width) - columns // 2, top

    def _hidden(self, frame: int) -> npt.NDArray[np.float32] | None:
        """How far hands cover each pixel, float32 `(height, width)`; None without a hand."""
        total: npt.NDArray[np.float32] | None = None
        for reach in self._reaching(frame):
            sprite, left, top = self._stretched(reach, frame)
            shape = (self.config.height, self.config.width)
            rows, columns, inner = clip_to(shape, sprite.cover.shape, left, top)
            if not np.any(sprite.cover[inner] > 0.25):
                continue
            total = np.zeros(shape, np.float32) if total is None else total
            total[rows, columns] = np.maximum(total[rows, columns], sprite.cover[inner])
        return total


def _checked(parts: Sequence[str]) -> tuple[str, ...]:
    """Return `parts` as a tuple of known, different labels."""
    if isinstance(parts, str) or not parts:
        raise ValueError(f"parts must be a sequence of labels, got {parts!r}; name at least one")
    if len(set(parts)) != len(parts):
        raise ValueError(
            f"parts must not repeat a label, got {list(parts)!r}; raise passes instead"
        )
    return tuple(check_label(label) for label in parts)


def part_truth(
    item: PartPass,
    sprite: Sprite,
    corner: tuple[int, int],
    config: ConveyorConfig,
    hidden: npt.NDArray[np.float32] | None,
) -> PartTruth | None:
    """The truth about one pass; None when no pixel of it is in the frame."""
    shape = (config.height, config.width)
    rows, columns, inner = clip_to(shape, sprite.cover.shape, *corner)
    seen = sprite.cover[inner]
    box = tight_box(seen)
    if box is None:
        return None
    left, top = max(0, corner[0]), max(0, corner[1])
    window = inspection_window(config)
    x0, y0 = corner[0] + sprite.box[0], corner[1] + sprite.box[1]
    x1, y1 = corner[0] + sprite.box[2], corner[1] + sprite.box[3]
    centred = x0 >= window[0] and y0 >= window[1] and x1 <= window[2] and y1 <= window[3]
    if hidden is not None:
        seen = seen * (1.0 - hidden[rows, columns])
    visible = round(float(seen.sum()) / float(sprite.cover.sum()), 4)
    bbox = (left + box[0], top + box[1], left + box[2], top + box[3])
    return PartTruth(item.instance, item.label, bbox, min(1.0, visible), centred)
