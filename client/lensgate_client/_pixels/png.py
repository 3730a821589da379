"""Encode pixels as PNG for images that the gate must shrink itself; optimized for speed, not for size."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB_8_BITS = (8, 2, 0, 0, 0)
_COMPRESSION_LEVEL = 1
_UP_FILTER = 2
"""PNG filter that stores the differences to the row above."""


def write_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 `[H, W, 3]` as a lossless RGB PNG file."""
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = _UP_FILTER
    rows[:, 1:] = pixels.reshape(height, width * 3)
    rows[1:, 1:] -= rows[:-1, 1:].copy()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, *_RGB_8_BITS)),
        (b"IDAT", zlib.compress(rows.data, _COMPRESSION_LEVEL)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
