"""Simulate a camera: white balance, vignette, softness and sensor noise."""

import numpy as np
from PIL import Image

from training.drawing.canvas import blurred

REFERENCE_SIZE = 1024  # Softness is given in pixels of a picture of this size.


def photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the RGB picture as a mildly imperfect camera would give it."""
    size = image.width
    image = blurred(_balanced(image, rng), float(rng.uniform(0.3, 1.3)) * size / REFERENCE_SIZE)
    noise = float(rng.uniform(0.6, 2.6))
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(noise)
    exposed = np.array(image, dtype=np.float32)
    exposed *= _vignette(rng, size)
    exposed += grain + np.float32(0.5)
    return Image.fromarray(np.clip(exposed, 0, 255, out=exposed).astype(np.uint8))


def _balanced(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    warmth, exposure = float(rng.normal(0, 0.025)), float(rng.uniform(0.9, 1.12))
    gains = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    contrast = float(rng.uniform(0.94, 1.1))
    return image.point([_level(level * gain, contrast) for gain in gains for level in range(256)])


def _level(level: float, contrast: float) -> int:
    return min(255, max(0, round((level - 128) * contrast + 128)))


def _vignette(rng: np.random.Generator, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    offset = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    dark = np.float32(rng.uniform(0, 0.12))
    return np.asarray(1 - dark * (offset[:, None, None] + offset[None, :, None]), dtype=np.float32)
