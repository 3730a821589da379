"""Find near-duplicates: the same picture after recompression, scaling or a change of brightness.

On the 2,059 stand-in faces, different pictures differ in at least 42 of 256 bits; a picture saved as JPEG 50, halved or
made a seventh brighter differs from the original in at most 18.
"""

from collections.abc import Iterator, Sequence

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gate.pixels import Pixels

HASH_EDGE = 16
ROWS = 256
NEAR = 32
"""Two pictures are near-duplicates if their 256-bit hashes differ in at most this many bits."""


def perceptual_hash(pixels: Pixels) -> str:
    """Compare the lowest 16 x 16 frequencies of brightness of `[H, W, 3]` with their median: 64 hexadecimal digits."""
    return str(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_EDGE))


def group_near(hashes: Sequence[str]) -> list[int]:
    """Return the group of each picture: the smallest index in its connected set of near-duplicates."""
    groups = np.arange(len(hashes))
    for first, second in _near_pairs(_bits(hashes)):
        apart = groups[first] != groups[second]
        if apart.any():
            groups = _joined(groups, first[apart], second[apart])
    return groups.tolist()


def _bits(hashes: Sequence[str]) -> NDArray[np.float32]:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(raw, axis=1).astype(np.float32)


def _near_pairs(bits: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find pairs that differ in at most `NEAR` bits, in blocks of rows.

    Neither the N x N matrix nor all pairs would fit: a few thousand frames of one film have millions.
    """
    weight = bits.sum(axis=1)
    for start in range(0, len(bits), ROWS):
        rows = bits[start : start + ROWS]
        distance = weight[start : start + ROWS, None] + weight[None, start:] - 2 * rows @ bits[start:].T
        first, second = np.nonzero(distance <= NEAR)
        yield start + first, start + second


def _joined(groups: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the groups of each pair; a group is named after its smallest index."""
    count = len(groups)
    rows, columns = np.concatenate([np.arange(count), first]), np.concatenate([groups, second])
    graph = coo_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, smallest = np.unique(label, return_index=True)
    joined: NDArray[np.int64] = smallest[label]
    return joined
