"""Find near-duplicates: the same picture after recompression, scaling or a change of brightness.

On the 2,059 stand-in faces, different pictures differ in at least 42 of 256 bits; a picture saved as JPEG 50, halved or
made a seventh brighter differs from the original in at most 18.
"""

from collections.abc import Sequence

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gate.pixels import Pixels

HASH_EDGE = 16
NEAR = 32
"""Two pictures are near-duplicates if their 256-bit hashes differ in at most this many bits."""


def perceptual_hash(pixels: Pixels) -> str:
    """Compare the lowest 16 x 16 frequencies of brightness of `[H, W, 3]` with their median: 64 hexadecimal digits."""
    return str(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_EDGE))


def group_near(hashes: Sequence[str]) -> list[int]:
    """Return the group of each picture: the smallest index in its connected set of near-duplicates."""
    groups = list(range(len(hashes)))

    def root(index: int) -> int:
        while groups[index] != index:
            index = groups[index]
        return index

    for first, second in _near_pairs(_bits(hashes)):
        one, other = sorted((root(first), root(second)))
        groups[other] = one
    return [root(index) for index in range(len(hashes))]


def _bits(hashes: Sequence[str]) -> NDArray[np.float32]:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(raw, axis=1).astype(np.float32)


def _near_pairs(bits: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Find pairs that differ in at most `NEAR` bits, in blocks of rows: the full N x N matrix would not fit."""
    weight = bits.sum(axis=1)
    pairs = []
    for start in range(0, len(bits), 1024):
        rows = bits[start : start + 1024]
        distance = weight[start : start + 1024, None] + weight[None] - 2 * rows @ bits.T
        near = np.argwhere(distance <= NEAR)
        pairs += [(start + int(one), int(other)) for one, other in near if start + one < other]
    return pairs
