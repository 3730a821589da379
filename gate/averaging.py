"""Shrink images by area averaging, one band of rows at a time, to avoid a second full-size copy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gate.types import Pixels

ReadRows = Callable[[int, int], Pixels]
"""Rows from the first number up to, not including, the second: uint8 `[n, W, C]`."""

_BAND_BYTES = 2**21

_CONVERSIONS = {"RGBA": "RGBa", "LA": "La", "CMYK": "RGB"}
"""Pillow mode -> mode to convert to. Alpha modes become premultiplied: round(level * alpha / 255)."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image that produces its rows on request: uint8 `[n, width, C]`.

    C is 1 or 2 for grey, 3 or 4 for RGB; the second or fourth channel is ignored.
    """

    height: int
    width: int
    rows: ReadRows


def area_average(pixels: Pixels, size: int) -> Pixels:
    """Shrink `pixels`, uint8 `[H, W, C]`, to `[size, size, C]`: each output pixel is the mean of the area it covers.

    Pixels that an output pixel covers in part count by that part; the mean is rounded to the nearest grey level.
    `H` and `W` are at least `size`.
    """
    height, width, _ = pixels.shape
    return area_average_rows(DecodedImage(height, width, lambda first, stop: pixels[first:stop]), size)


def area_average_rows(image: DecodedImage, size: int) -> Pixels:
    """`area_average` for an image that produces its rows on request."""
    if image.height % size or image.width % size:
        rows = _average_rows(image.rows, image.height, size)
        flipped = rows.swapaxes(0, 1)
        columns = _average_rows(lambda first, stop: flipped[first:stop], image.width, size).swapaxes(0, 1)
        return np.rint(columns).astype(np.uint8)
    tall = image.height // size
    step = max(1, _BAND_BYTES // (4 * tall * image.width))
    bands = (image.rows(top * tall, min(top + step, size) * tall) for top in range(0, size, step))
    return np.concatenate([_average_blocks(band, tall, image.width // size) for band in bands])


def band_of(image: Image.Image, first: int, stop: int) -> NDArray[np.generic]:
    """Return rows as Pillow stores them, with alpha composited over black and CMYK converted."""
    band = image.crop((0, first, image.width, stop))
    return np.asarray(band.convert(_CONVERSIONS[band.mode]) if band.mode in _CONVERSIONS else band)


def _average_blocks(pixels: Pixels, tall: int, wide: int) -> Pixels:
    """Return the means of the `tall` x `wide` blocks that tile `pixels`."""
    height, width, channels = pixels.shape
    # Rows first: they are contiguous, and sums of up to 257 rows fit 16 bits, so the adds run at full vector width.
    narrow = np.uint16 if tall <= 257 else np.uint32
    bands = np.add.reduce(pixels.reshape(height // tall, tall, width * channels), axis=1, dtype=narrow)
    blocks = bands.reshape(height // tall, width // wide, wide, channels)
    # Column by column: a NumPy reduction along so short an axis takes three times as long.
    sums = blocks[:, :, 0].astype(np.uint32)
    for column in range(1, wide):
        sums += blocks[:, :, column]
    area = tall * wide
    means: Pixels = ((sums + area // 2) // area).astype(np.uint8)
    return means


def _average_rows(rows: Callable[[int, int], NDArray[np.generic]], length: int, size: int) -> NDArray[np.float32]:
    """Average `length` rows, `[W, C]` each, along axis 0 to float32 `[size, W, C]`, for any `length` >= `size`."""
    ratio = length / size
    means = []
    for index in range(size):
        start, stop = index * ratio, (index + 1) * ratio
        first, last = int(start), min(int(np.ceil(stop)), length)
        edges = np.arange(first, last, dtype=np.float32)
        weights = np.minimum(edges + 1, stop) - np.maximum(edges, start)
        means.append(np.tensordot(weights / ratio, rows(first, last).astype(np.float32), axes=1).astype(np.float32))
    return np.stack(means)
