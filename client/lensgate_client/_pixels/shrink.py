"""Area averaging of uint8 pixels by integer ratios, in exact integers, with the same result as in the gate.

The pixels of each block are summed on their own device; the mean is computed on the CPU and rounded to the nearest
level.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensgate_client._pixels.frameworks import Framework

Pixels = NDArray[np.uint8]

MAX_RATIO = 256
"""Largest ratio whose sums are exact in 24 bits, the mantissa of float32."""

THREADS = min(4, os.cpu_count() or 1)
"""Threads that shrink the images of a batch in host memory; NumPy releases the GIL."""

_DEVICE_IMAGES = 8
"""Images that a device sums at a time: some frameworks first widen them to four bytes per value."""


def shrink_on_host(image: Pixels, size: int, *, channels_first: bool) -> Pixels:
    """Shrink one image in host memory, `[H, H, 3]` or `[3, H, H]`, to `[size, size, 3]`.

    `H` is a multiple of `size`, at most `MAX_RATIO` times. The image may have any strides.
    """
    ratio = image.shape[1] // size
    transposed = image.transpose((1, 2, 0) if channels_first else (2, 0, 1))
    if not image.flags.c_contiguous and transposed.flags.c_contiguous:
        return shrink_on_host(transposed, size, channels_first=not channels_first)
    if channels_first:
        return _means(_sum_blocks(image, size, channels=1), ratio).transpose(1, 2, 0)
    return _means(_sum_blocks(image, size, channels=3), ratio)


def _sum_blocks(image: Pixels, size: int, *, channels: int) -> NDArray[np.uint32]:
    """Sum blocks: `[H, H, 3]` to `[size, size, 3]`, or with one channel per plane `[3, H, H]` to `[3, size, size]`."""
    edge = image.shape[1]
    ratio = edge // size
    # Rows are contiguous, and the sum of MAX_RATIO rows fits 16 bits, so these additions use full vector width.
    rows = np.add.reduce(image.reshape(-1, ratio, edge * channels), axis=1, dtype=np.uint16)
    columns = rows.reshape(-1, size, ratio, channels)
    sums = np.zeros((len(columns), size, channels), np.uint32)
    for column in range(ratio):
        # Faster than np.add.reduce, whose innermost loop would have three values.
        sums += columns[:, :, column]
    return sums.reshape(-1, size, size) if channels == 1 else sums


def shrink_on_device(images: Any, size: int, *, framework: Framework, channels_first: bool) -> Pixels:
    """Shrink N images on any device, `[N, H, H, 3]` or `[N, 3, H, H]`, to `[N, size, size, 3]` in host memory.

    `H` is as in `shrink_on_host`.
    """
    count = int(images.shape[0])
    chunks = [
        _sum_on_device(images[first : min(first + _DEVICE_IMAGES, count), ...], size, framework, channels_first)
        for first in range(0, count, _DEVICE_IMAGES)
    ]
    sums = np.concatenate(chunks).astype(np.uint32)
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
