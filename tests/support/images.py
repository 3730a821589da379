"""Images made in memory, in every variant of a format that a caller may send."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Levels = NDArray[np.int16]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def portrait(size: int = 256, *, seed: int = 0) -> Pixels:
    """Return smooth colours with an edge and some noise, uint8 `[size, size, 3]`, which reveal errors of averaging."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(x * 7 + y * 3), np.cos(x * 5 - y * 9), np.sin(x * y * 11)]
    pixels = np.stack(waves, axis=-1) * 90 + 128
    pixels[size // 3 : size // 2, size // 5 : size // 2] += 40
    noisy = pixels + random.normal(0, 6, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def flat(value: int, size: int = 128) -> Pixels:
    """One grey, uint8 `[size, size, 3]`."""
    return np.full((size, size, 3), value, np.uint8)


def encode(pixels: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exact_average(pixels: NDArray[np.generic], size: int) -> NDArray[np.float64]:
    """The mean over each output pixel's area, by plain float64 matrices: slow, and easy to believe."""
    rows, columns = _overlap(pixels.shape[0], size), _overlap(pixels.shape[1], size)
    means: NDArray[np.float64] = np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(np.float64), columns, optimize=True)
    return means


def interlaced_png(pixels: Pixels) -> bytes:
    """An RGB PNG in Adam7 order, which Pillow does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lines = b"".join(
        b"\x00" + line.tobytes()
        for x, y, step_x, step_y in passes
        for line in pixels[y::step_y, x::step_x]
        if line.size
    )
    return png_of(pixels.shape[1], pixels.shape[0], lines, interlace=1)


def png_of(width: int, height: int, lines: bytes, *, interlace: int = 0, colour: int = 2, split: int = 2**31) -> bytes:
    """An 8-bit PNG, RGB unless `colour` says otherwise, with any header over any scan lines, true or not.

    `split`: most bytes of the compressed picture in one chunk.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlace)
    stream = zlib.compress(lines)
    parts = [(b"IDAT", stream[start : start + split]) for start in range(0, len(stream), split)]
    chunks = ((b"IHDR", header), *parts, (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks)


def filtered_png(pixels: Pixels, filters: Sequence[int], *, split: int = 2**31) -> bytes:
    """A PNG of uint8 `[H, W, 3 or 4]`, row i under `filters[i % len(filters)]`: encoders leave no such choice."""
    height, width, channels = pixels.shape
    padded = np.pad(pixels, ((1, 0), (1, 0), (0, 0))).astype(np.int16)
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    predicted = np.stack([np.zeros_like(left), left, up, (left + up) // 2, _paeth(left, up, corner)])
    rows = np.arange(height)
    kinds = np.resize(np.asarray(filters, np.uint8), height)
    residues = (pixels - predicted[kinds, rows]).astype(np.uint8).reshape(height, width * channels)
    lines = np.concatenate([kinds[:, None], residues], axis=1)
    return png_of(width, height, lines.tobytes(), colour=2 if channels == 3 else 6, split=split)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _paeth(left: Levels, up: Levels, corner: Levels) -> Levels:
    """The standard's words: whichever is nearest to left + up - corner, in this order."""
    distances = np.abs(np.stack([up - corner, left - corner, left + up - 2 * corner]))
    nearest: Levels = np.choose(distances.argmin(axis=0), [left, up, corner])
    return nearest


def _overlap(length: int, size: int) -> NDArray[np.float64]:
    edges = np.arange(size + 1) * length / size
    starts = np.arange(length)
    inside = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: NDArray[np.float64] = np.clip(inside, 0, None) * size / length
    return weights
