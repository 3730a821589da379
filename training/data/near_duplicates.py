"""Which images are nearly the same: the same picture saved, scaled or lit otherwise.

On the 2,059 stand-in faces no two different pictures are nearer than 42 of 256 bits, while the same one saved as JPEG
50, halved or a seventh brighter stays within 18.
"""

from collections.abc import Sequence

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gate.pixels import Pixels

HASH_EDGE = 16
NEAR = 32
"""Two pictures are taken for one where at most so many of the 256 bits of their hashes differ."""


def perceptual_hash(pixels: Pixels) -> str:
    """The lowest 16 x 16 frequencies of the picture's brightness against their median, as 64 hexadecimal digits."""
    return str(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_EDGE))


def group_near(hashes: Sequence[str]) -> list[int]:
    """The number of each picture's group: the index of the first picture that it is near to, if through others."""
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
    """Pairs that differ in at most `NEAR` bits, a block of rows at a time: all at once would need N x N numbers."""
    weight = bits.sum(axis=1)
    pairs = []
    for start in range(0, len(bits), 1024):
        rows = bits[start : start + 1024]
        distance = weight[start : start + 1024, None] + weight[None] - 2 * rows @ bits.T
        near = np.argwhere(distance <= NEAR)
        pairs += [(start + int(one), int(other)) for one, other in near if start + one < other]
    return pairs
