"""PNG files of every colour type, depth, filter and order, and the pixels that the specification says they have."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.support.images import PNG_SIGNATURE, Pixels, png_chunk

Samples = NDArray[np.integer]

COLOURS = {"grey": (0, 1), "rgb": (2, 3), "palette": (3, 1), "grey and alpha": (4, 2), "rgba": (6, 4)}
"""Colour type and samples a pixel."""

DEPTHS = {
    "grey": (1, 2, 4, 8, 16),
    "rgb": (8, 16),
    "palette": (1, 2, 4, 8),
    "grey and alpha": (8, 16),
    "rgba": (8, 16),
}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def any_png(
    samples: Samples,
    *,
    colour: str = "rgb",
    depth: int = 8,
    filters: Sequence[int] = (0,),
    is_interlaced: bool = False,
    palette: bytes = b"",
    transparency: bytes = b"",
) -> bytes:
    """A file of `samples`, `[H, W, C]`, `depth` bits each. Row i of a pass is under `filters[i % len(filters)]`."""
    chunks = [(b"PLTE", palette), (b"tRNS", transparency), (b"IDAT", stream_of(samples, depth, filters, is_interlaced))]
    return png_file(
        header_of(samples.shape[1], samples.shape[0], colour=colour, depth=depth, is_interlaced=is_interlaced),
        *[chunk for chunk in chunks if chunk[1]],
        (b"IEND", b""),
    )


def png_file(*chunks: tuple[bytes, bytes]) -> bytes:
    """A signature and chunks with right checksums."""
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks)


def header_of(
    width: int, height: int, *, colour: str = "rgb", depth: int = 8, is_interlaced: bool = False
) -> tuple[bytes, bytes]:
    """The IHDR chunk."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, COLOURS[colour][0], 0, 0, is_interlaced)


def stream_of(samples: Samples, depth: int = 8, filters: Sequence[int] = (0,), is_interlaced: bool = False) -> bytes:
    """The compressed picture."""
    steps = _ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    passes = [samples[y::down, x::right] for x, y, right, down in steps]
    return zlib.compress(b"".join(_filtered(each, depth, filters) for each in passes if each.size))


def pixels_of(samples: Samples, *, colour: str, depth: int, palette: bytes = b"", transparency: bytes = b"") -> Pixels:
    """RGB over black, uint8 `[H, W, 3]`: 16 bits cut to 8, transparent colours black."""
    if colour == "palette":
        table = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        alpha = np.full(len(table), 255)
        alpha[: len(transparency)] = list(transparency)
        return _over_black(table[samples[:, :, 0]], alpha[samples[:, :, 0]])
    levels = samples >> 8 if depth == 16 else samples * 255 // ((1 << depth) - 1)
    rgb = np.broadcast_to(levels[:, :, :1], (*levels.shape[:2], 3)) if levels.shape[2] < 3 else levels[:, :, :3]
    if levels.shape[2] in (2, 4):
        return _over_black(rgb, levels[:, :, -1])
    key = np.frombuffer(transparency, ">u2")
    is_clear = (samples == key).all(axis=2) if len(key) else np.zeros(samples.shape[:2], bool)
    return np.where(is_clear[:, :, None], 0, rgb).astype(np.uint8)


def _over_black(rgb: Samples, alpha: Samples) -> Pixels:
    return np.rint(rgb * (alpha[:, :, None] / 255.0)).astype(np.uint8)


def _filtered(samples: Samples, depth: int, filters: Sequence[int]) -> bytes:
    rows = _packed(samples, depth).astype(int)
    step = max(1, samples.shape[2] * depth // 8)
    padded = np.pad(rows, ((1, 0), (step, 0)))
    left, up, corner = padded[1:, :-step], padded[:-1, step:], padded[:-1, :-step]
    estimate = left + up - corner
    distances = np.abs(np.stack([estimate - left, estimate - up, estimate - corner]))
    nearest = np.choose(distances.argmin(axis=0), [left, up, corner])
    predicted = np.stack([np.zeros_like(rows), left, up, (left + up) // 2, nearest])
    kinds = np.resize(filters, len(rows))
    residues = (rows - predicted[kinds, np.arange(len(rows))]) & 0xFF
    return np.concatenate([kinds[:, None], residues], axis=1).astype(np.uint8).tobytes()


def _packed(samples: Samples, depth: int) -> Pixels:
    """Rows of bytes, uint8 `[H, n]`."""
    values = samples.reshape(len(samples), -1)
    if depth >= 8:
        return values.astype(">u2" if depth == 16 else np.uint8).view(np.uint8).reshape(len(samples), -1)
    bits = values[:, :, None] >> np.arange(depth)[::-1] & 1
    return np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)
