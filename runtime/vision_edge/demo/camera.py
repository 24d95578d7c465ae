"""The camera over the line: uneven and drifting light, flicker, sensor noise, the watermark."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from vision_edge.demo.settings import ConveyorConfig
from vision_edge.demo.sprites import Image

_DRIFT, _BANK, _SHOT = 21, 22, 23
_ROAM = 61
"""Noise is cut from a larger field at one of `_ROAM` squared places, drawn for every frame."""

WATERMARK = "RENDERED"


class Camera:
    """What turns a clean picture of the line into a frame.

    Args:
        config: The line; its seed decides how the light drifts.
    """

    def __init__(self, config: ConveyorConfig) -> None:
        self._config = config
        rng = np.random.default_rng((config.seed, _DRIFT))
        self._phases = [float(p) for p in rng.uniform(0.0, 2.0 * math.pi, 5)]
        self._seconds = [float(s) for s in rng.uniform((17.0, 6.0, 23.0), (34.0, 11.0, 47.0))]
        self._falloff = _falloff(config, rng)
        self._brighter, self._darker = _noise_bank(config)
        self._mark = _watermark(config)

    def gains(self, frame: int) -> tuple[float, float, float]:
        """Brightness of (blue, green, red) at a frame: about 0.8 to 1.2."""
        seconds = frame / self._config.fps
        slow, middle, warm = (
            math.sin(2.0 * math.pi * seconds / period + phase)
            for period, phase in zip(self._seconds, self._phases, strict=False)
        )
        flicker = 0.006 * math.sin(2.0 * math.pi * 9.7 * seconds + self._phases[3])
        drift = self._config.drift
        level = 1.0 + drift * (0.085 * slow + 0.04 * middle + flicker)
        tint = drift * 0.045 * warm
        return level * (1.0 - tint), level, level * (1.0 + tint)

    def expose(self, canvas: Image, frame: int, stream: int = 0) -> Image:
        """Take the picture.

        Args:
            canvas: The line in even light, uint8 BGR `(height, width, 3)`.
            frame: When: decides the drift and, with `stream`, the noise.
            stream: Tells snapshots from the video.

        Returns:
            The frame, uint8 BGR `(height, width, 3)`.
        """
        lit = cv2.multiply(canvas, self._falloff, dtype=cv2.CV_8U)
        steps = np.arange(256, dtype=np.float32)[:, None] * np.array(self.gains(frame), np.float32)
        table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None]
        image = cv2.LUT(lit, table)
        rng = np.random.default_rng((self._config.seed, _SHOT, stream, frame))
        y, x = (int(k) for k in rng.integers(0, _ROAM, 2))
        place = (slice(y, y + canvas.shape[0]), slice(x, x + canvas.shape[1]))
        noisy = cv2.subtract(cv2.add(image, self._brighter[place]), self._darker[place])
        return self._sign(np.asarray(noisy, np.uint8))

    def _sign(self, image: Image) -> Image:
        """Write "RENDERED" into the lower right corner."""
        rows, columns = self._mark.shape
        corner = image[-rows - 3 :, -columns - 4 :][:rows, :columns]
        corner[:] = np.maximum(corner, self._mark[..., None])
        return image


def _falloff(config: ConveyorConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Light across the frame: brightest under the lamps, dim in the corners."""
    x = np.linspace(-1.0, 1.0, config.width, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, config.height, dtype=np.float32)[:, None]
    cx, cy, strength = (float(v) for v in rng.uniform((-0.2, -0.2, 0.16), (0.2, 0.2, 0.26)))
    away = (x - cx) ** 2 + 0.7 * (y - cy) ** 2
    level = 1.10 - strength * away
    cool = 0.02 * (x - cx)
    channels = [level * (1.0 + cool), level, level * (1.0 - cool)]
    return np.ascontiguousarray(np.stack(channels, axis=-1), np.float32)


def _noise_bank(config: ConveyorConfig) -> tuple[Image, Image]:
    """Sensor noise as what to add and what to subtract: saturating byte sums are the fastest."""
    rng = np.random.default_rng((config.seed, _BANK))
    shape = (config.height + _ROAM, config.width + _ROAM, 3)
    noise = rng.standard_normal(shape, dtype=np.float32)
    # Demosaicing makes neighbouring pixels and channels err alike.
    noise = np.asarray(cv2.GaussianBlur(noise, (3, 3), 0.5), np.float32)
    noise = 0.75 * noise + 0.45 * noise.mean(axis=2, keepdims=True)
    noise *= np.float32(config.noise) / noise.std()
    return (
        np.asarray(np.clip(np.rint(noise), 0, 127), np.uint8),
        np.asarray(np.clip(np.rint(-noise), 0, 127), np.uint8),
    )


def _watermark(config: ConveyorConfig) -> Image:
    """The word, grey on black: uint8 `(h, w)`, in a size that fits small frames."""
    scale = 0.42 * max(0.8, config.height / 480.0)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), base = cv2.getTextSize(WATERMARK, font, scale, 1)
    mark = np.zeros((height + base + 2, min(width + 2, config.width - 4)), np.uint8)
    cv2.putText(mark, WATERMARK, (1, height + 1), font, scale, 225, 1, cv2.LINE_AA)
    return mark
