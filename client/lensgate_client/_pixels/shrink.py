"""Area averaging of uint8 pixels by whole ratios, in exact integers, as the gate does it to files.

What an output pixel covers is summed up where the pixels are; the mean is taken here, rounded to the nearest level.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensgate_client._pixels.frameworks import Framework

Pixels = NDArray[np.uint8]

MAX_RATIO = 256
"""Up to here a sum is exact in 24 bits, which every framework's fastest numbers have."""

THREADS = min(4, os.cpu_count() or 1)
"""That share the images of a batch in the processor's memory: NumPy lets go of the interpreter meanwhile."""

_DEVICE_IMAGES = 8
"""Images that a device sums up at a time: some frameworks widen them first, to four bytes a value."""


def shrink_host(image: Pixels, size: int, *, channels_first: bool) -> Pixels:
    """One image in the processor's memory, `[H, H, 3]` or `[3, H, H]` -> `[size, size, 3]`.

    `H` is a multiple of `size`, by at most `MAX_RATIO`. The strides may be any.
    """
    ratio = image.shape[1] // size
    turned = image.transpose((1, 2, 0) if channels_first else (2, 0, 1))
    if not image.flags.c_contiguous and turned.flags.c_contiguous:
        return shrink_host(turned, size, channels_first=not channels_first)
    if channels_first:
        return _means(_sum_blocks(image, size, channels=1), ratio).transpose(1, 2, 0)
    return _means(_sum_blocks(image, size, channels=3), ratio)


def _sum_blocks(image: Pixels, size: int, *, channels: int) -> NDArray[np.uint32]:
    """Sums of blocks: `[H, H, 3]` -> `[size, size, 3]`; with one channel a plane `[3, H, H]` -> `[3, size, size]`."""
    edge = image.shape[1]
    ratio = edge // size
    # Rows first: they are contiguous, and `MAX_RATIO` of them fit 16 bits, so that the adds run at full vector width.
    rows = np.add.reduce(image.reshape(-1, ratio, edge * channels), axis=1, dtype=np.uint16)
    columns = rows.reshape(-1, size, ratio, channels)
    sums = np.zeros((len(columns), size, channels), np.uint32)
    for column in range(ratio):
        # Faster than to reduce: NumPy's innermost loop would be three values long.
        sums += columns[:, :, column]
    return sums.reshape(-1, size, size) if channels == 1 else sums


def shrink_device(images: Any, size: int, *, framework: Framework, channels_first: bool) -> Pixels:
    """N images on whichever device, `[N, H, H, 3]` or `[N, 3, H, H]` -> `[N, size, size, 3]` in the processor's memory.

    `H` is as for `shrink_host`.
    """
    count = int(images.shape[0])
    parts = [
        _sum_on_device(images[first : min(first + _DEVICE_IMAGES, count), ...], size, framework, channels_first)
        for first in range(0, count, _DEVICE_IMAGES)
    ]
    sums = np.concatenate(parts).astype(np.uint32)
    means = _means(sums, int(images.shape[2]) // size)
    return means.transpose(0, 2, 3, 1) if channels_first else means


def _sum_on_device(images: Any, size: int, framework: Framework, channels_first: bool) -> NDArray[Any]:
    count, ratio = int(images.shape[0]), int(images.shape[2]) // size
    blocks: Sequence[int] = (size, ratio, size, ratio)
    shape, axes = ((count, 3, *blocks), (3, 5)) if channels_first else ((count, *blocks, 3), (2, 4))
    return framework.to_host(framework.sum(framework.reshape(images, shape), axes))


def _means(sums: NDArray[np.uint32], ratio: int) -> Pixels:
    area = ratio * ratio
    means: Pixels = ((sums + area // 2) // area).astype(np.uint8)
    return means
