"""Augment portraits without changing their label: geometry, focus, tone curve, contrast, brightness and colour.

Random numbers depend only on the seed of the batch, so a resumed run continues exactly as an uninterrupted one.
"""

from typing import Any

import numpy as np
import tensorflow as tf

LARGEST_TURN = 0.13  # radians
LARGEST_CLOSE_UP, LARGEST_DISTANCE = 0.5, 0.2  # natural logarithms of the scale; some sources crop tightly
LARGEST_SHIFT = 0.10  # of the image's edge
LARGEST_BLUR, LARGEST_SHARPENING = 1.0, 0.5  # share of a 3 x 3 binomial filter, and of its opposite
LARGEST_CURVE = 0.6  # of the tone curve: 0.15 of full scale for middle grey
LARGEST_CONTRAST = 0.3
LARGEST_BRIGHTNESS = 38.0  # grey levels
LARGEST_CAST = 0.12  # of a colour channel
MAX_DESATURATION, MAX_SATURATION = 0.5, 0.3


def augment(images: Any, strength: float, *, seed: Any) -> Any:
    """Randomly mirror, rotate, shift, zoom, blur or sharpen, and relight `images`, float32 `[N, S, S, 3]` in 0..255.

    Args:
        images: a batch.
        strength: 1 uses the full ranges of the constants above; 0 only mirrors.
        seed: two integers, `[2]`; equal seeds give equal images.
    """
    chance = _RandomFactors(tf.shape(images)[0], tf.cast(seed, tf.int32), strength)
    return tf.clip_by_value(_lit(_focused(_moved(images, chance), chance), chance), 0.0, 255.0)


class _RandomFactors:
    """Draws one uniform number per image from a range scaled by the strength; each call draws new numbers."""

    def __init__(self, count: Any, seed: Any, strength: float) -> None:
        self._count, self._seed, self._strength, self._calls = count, seed, strength, 0

    def __call__(self, low: float, high: float, *shape: int) -> Any:
        self._calls += 1
        seed = tf.stack([self._seed[0] * 64 + self._calls, self._seed[1]])
        low, high = low * self._strength, high * self._strength
        return tf.random.stateless_uniform((self._count, *shape), seed, low, high)

    def sign(self) -> Any:
        """Return -1 or 1 per image, independent of the strength."""
        self._calls += 1
        seed = tf.stack([self._seed[0] * 64 + self._calls, self._seed[1]])
        return tf.sign(tf.random.stateless_uniform((self._count,), seed, -1.0, 1.0))


def _moved(images: Any, chance: _RandomFactors) -> Any:
    """Apply all geometric changes in one resampling, because each resampling blurs the image."""
    edge = tf.cast(tf.shape(images)[1], tf.float32)
    centre = (edge - 1) / 2
    turn, zoom = chance(-LARGEST_TURN, LARGEST_TURN), tf.exp(chance(-LARGEST_CLOSE_UP, LARGEST_DISTANCE))
    x, y = (chance(-LARGEST_SHIFT, LARGEST_SHIFT) * edge for _ in range(2))
    mirror = chance.sign()
    cos, sin = tf.cos(turn) * zoom, tf.sin(turn) * zoom
    zero = tf.zeros_like(cos)
    rows = [cos * mirror, -sin, centre * (1 - cos * mirror + sin) + x]
    rows += [sin * mirror, cos, centre * (1 - sin * mirror - cos) + y, zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, axis=1),
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _focused(images: Any, chance: _RandomFactors) -> Any:
    binomial = np.outer([1, 2, 1], [1, 2, 1])[:, :, np.newaxis, np.newaxis] / 16
    kernel = tf.constant(np.repeat(binomial, 3, axis=2), tf.float32)
    edged = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    blurred = tf.nn.depthwise_conv2d(edged, kernel, [1, 1, 1, 1], "VALID")
    return images + (blurred - images) * chance(-LARGEST_SHARPENING, LARGEST_BLUR, 1, 1, 1)


def _lit(images: Any, chance: _RandomFactors) -> Any:
    """Change the tone curve, then contrast, brightness, cast and saturation in one linear map of the colours."""
    images += chance(-LARGEST_CURVE, LARGEST_CURVE, 1, 1, 1) * images * (1.0 - images / 255.0)
    mean = tf.reduce_mean(images, axis=(1, 2, 3))[:, tf.newaxis, tf.newaxis]
    contrast = tf.exp(chance(-LARGEST_CONTRAST, LARGEST_CONTRAST, 1, 1))
    brightness = chance(-LARGEST_BRIGHTNESS, LARGEST_BRIGHTNESS, 1, 1)
    cast = 1 + chance(-LARGEST_CAST, LARGEST_CAST, 3)
    saturation = 1 + chance(-MAX_DESATURATION, MAX_SATURATION, 1, 1)
    mixed = saturation * tf.eye(3) + (1 - saturation) / 3  # Grey is the mean of the three colours.
    colours = cast[:, :, tf.newaxis] * mixed
    rows = tf.reshape(images, (tf.shape(images)[0], -1, 3))
    offset = (mean * (1 - contrast) + brightness) * tf.reduce_sum(colours, axis=1, keepdims=True)
    changed = tf.matmul(rows, contrast * colours) + offset
    return tf.reshape(changed, tf.shape(images))
