"""Generated scenes: images for gates and cohorts where there are none of the station's own.

Coloured noise with the 1/f spectrum of natural scenes, overlaid with shaded shapes. They exercise a
model over its whole input range; they are no one's photographs.
"""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require

SOURCE = "generated scenes (1/f colour noise with shapes)"


def generated_scenes(count: int, size: int, seed: int = 0) -> list[Image]:
    """Return `count` different scenes, uint8 (size, size, 3) BGR, the same for the same seed."""
    return [_scene(np.random.default_rng([seed, index]), size) for index in range(count)]


def _scene(rng: np.random.Generator, size: int) -> Image:
    image = _coloured_noise(rng, size)
    for _ in range(int(rng.integers(1, 6))):
        image = _with_shape(image, rng)
    contrast, brightness = rng.uniform(0.4, 1.1), rng.uniform(-0.15, 0.25)
    lit = (image - 0.5) * contrast + 0.5 + brightness
    noisy = lit + rng.normal(0.0, rng.uniform(0.0, 0.03), image.shape)
    return np.asarray(np.clip(noisy * 255.0, 0, 255), dtype=np.uint8)


def _coloured_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return float64 (size, size, 3) in [0, 1] whose amplitude falls as 1/f^p with random p."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1.0
    spectrum = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    field = np.fft.irfft2(spectrum / frequency ** rng.uniform(0.8, 1.8), s=(size, size))
    mixing = rng.normal(size=(3, 3)) + 2.0  # channels of natural scenes vary together
    mixed = np.tensordot(mixing, field, axes=1)
    low, high = np.quantile(mixed, [0.01, 0.99], axis=(1, 2))[:, :, None, None]
    return np.asarray(np.clip((mixed - low) / (high - low), 0, 1).transpose(1, 2, 0))


def _with_shape(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blend one shaded polygon or ellipse of random colour into the image."""
    cv2 = require("cv2")
    size = len(image)
    mask = np.zeros((size, size), np.uint8)
    centre = rng.integers(size // 8, size - size // 8, 2)
    if rng.random() < 0.5:
        axes = rng.integers(size // 16, size // 3, 2)
        cv2.ellipse(mask, centre.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, 255, -1)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        radius = rng.uniform(size / 12, size / 3, len(angles))
        points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.5))[:, :, None] / 255.0
    shade = np.linspace(rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0), size)[:, None, None]
    colour = rng.uniform(0.0, 1.0, 3) * shade
    return np.asarray(image * (1 - soft) + colour * soft)
