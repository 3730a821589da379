"""Decode every kind of PNG with Pillow, from a rebuilt file that holds only the header and the compressed pixels.

It reads the files that `gate.formats.png.fast_decoder` does not take: grey, palettes, 16 bits, interlacing, transparent
colours, edges that the model's size does not divide. Text, colour profiles and animations never reach the decoder.
Palette and transparency are applied here, on bands of rows: Pillow keeps eight bits a channel and compares a 16-bit
transparent colour with those. It holds 4 bytes a pixel.
"""

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate

import deflate
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from gate.averaging import DecodedImage, ReadRows, band_of
from gate.formats.png.chunks import GREY, PALETTE, PNG_SIGNATURE, RGB, ParsedPng
from gate.types import Pixels

_LAST = 2**15
"""Bytes of the last IDAT chunk. Pillow stops after the last row and verifies the Adler-32 checksum only if both are in
the same read: within one chunk, and within 64 kB."""

_PIECE, _MAX_INFLATED = 2**14, 2**20
"""Bytes of compressed pixels that are inflated at a time to count them, and of the output that is held meanwhile."""

_LOW_BYTES = "RGB;16L"
"""Pillow's raw mode that keeps the low byte of each 16-bit big-endian RGB sample."""


def decode_png(png: ParsedPng) -> DecodedImage:
    """Decode the full image.

    Raises:
        Exception: the compressed pixels are damaged or too short; Pillow raises several types.
    """
    image = _load(png)
    if image.size != (png.width, png.height):
        raise ValueError("the decoded size differs from the header's")
    if _lacks_pixels(png):
        raise ValueError("the compressed pixels end before the last row does")
    return DecodedImage(png.height, png.width, _finish(png, image))


def _lacks_pixels(png: ParsedPng) -> bool:
    """Whether the stream ends too early: Pillow accepts a complete stream that lacks up to one row."""
    missing = png.scan_line_bytes
    inflater = zlib.decompressobj()
    for part in png.stream:
        for start in range(0, len(part), _PIECE):
            piece: memoryview | bytes = part[start : start + _PIECE]
            while missing > 0 and (lines := inflater.decompress(piece, min(missing, _MAX_INFLATED))):
                missing -= len(lines)
                piece = inflater.unconsumed_tail
            if missing == 0 or inflater.eof:
                return missing > 0
    return True


def _finish(png: ParsedPng, image: Image.Image) -> ReadRows:
    """Return rows with palette, alpha and transparent colour resolved."""
    if png.colour == PALETTE:
        table = _palette_over_black(png)
        return lambda first, stop: table[band_of(image, first, stop)]
    if png.colour == GREY:
        return _finish_grey(png, image)
    if png.colour == RGB and png.transparency:
        return _finish_rgb(png, image)
    return lambda first, stop: band_of(image, first, stop).view(np.uint8)


def _palette_over_black(png: ParsedPng) -> Pixels:
    """Return the palette over black, uint8 `[256, 3]`. Missing entries are black, as in libpng."""
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    entries = min(len(png.palette) // 3, 1 << png.depth)
    table[:entries, :3] = np.frombuffer(png.palette, np.uint8).reshape(-1, 3)[:entries]
    table[: len(png.transparency), 3] = np.frombuffer(png.transparency, np.uint8)
    return ((table[:, :3].astype(np.uint16) * table[:, 3:] + 127) // 255).astype(np.uint8)


def _finish_grey(png: ParsedPng, image: Image.Image) -> ReadRows:
    key = int.from_bytes(png.transparency)
    if png.depth < 8:
        key = (key & (1 << png.depth) - 1) * 255 // ((1 << png.depth) - 1)
    elif png.depth == 8:
        key &= 0xFF

    def rows(first: int, stop: int) -> Pixels:
        levels = band_of(image, first, stop).astype(np.uint16)
        if png.depth == 1:
            levels *= 255
        grey = (levels >> 8 if png.depth == 16 else levels).astype(np.uint8)
        if png.transparency:
            grey[levels == key] = 0
        return grey[:, :, np.newaxis]

    return rows


def _finish_rgb(png: ParsedPng, image: Image.Image) -> ReadRows:
    key = np.frombuffer(png.transparency, ">u2").astype(np.uint16)
    is_deep = png.depth == 16
    low = cache(partial(_load, png, rawmode=_LOW_BYTES))

    def rows(first: int, stop: int) -> Pixels:
        pixels = np.array(band_of(image, first, stop), np.uint8)
        is_clear = _is_colour(pixels, key >> 8 if is_deep else key & 0xFF)
        if is_deep and is_clear.any():
            is_clear &= _is_colour(band_of(low(), first, stop), key & 0xFF)
        pixels[is_clear] = 0
        return pixels

    return rows


def _is_colour(pixels: NDArray[np.generic], colour: NDArray[np.integer]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = pixels[:, :, 0] == colour[0]
    for channel in (1, 2):
        mask &= pixels[:, :, channel] == colour[channel]
    return mask


def _load(png: ParsedPng, *, rawmode: str | None = None) -> PngImagePlugin.PngImageFile:
    image = PngImagePlugin.PngImageFile(io.BufferedReader(_Joined(_file(png)), 2**16))
    if rawmode is not None:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return image


def _file(png: ParsedPng) -> Sequence[memoryview | bytes]:
    """Return the parts of a file with only the header and the pixels. The compressed pixels are not copied."""
    header = struct.pack(">IIBBBBB", png.width, png.height, png.depth, png.colour, 0, 0, png.is_interlaced)
    first, last = _split(png.stream, sum(map(len, png.stream)) - _LAST)
    parts = [PNG_SIGNATURE, *_chunk(b"IHDR", [header])]
    for part in (first, last):
        parts += _chunk(b"IDAT", part)
    return [*parts, *_chunk(b"IEND", [])]


def _split(parts: Sequence[memoryview], position: int) -> tuple[list[memoryview], list[memoryview]]:
    first, last, start = [], [], 0
    for part in parts:
        cut = min(max(position - start, 0), len(part))
        first.append(part[:cut])
        last.append(part[cut:])
        start += len(part)
    return first, last


def _chunk(kind: bytes, body: Sequence[memoryview | bytes]) -> list[memoryview | bytes]:
    checksum = deflate.crc32(kind)
    for part in body:
        checksum = deflate.crc32(part, checksum)
    return [struct.pack(">I", sum(map(len, body))) + kind, *body, struct.pack(">I", checksum)]


class _Joined(io.RawIOBase):
    """Read several buffers as one file."""

    def __init__(self, parts: Sequence[memoryview | bytes]) -> None:
        self._parts = [part for part in parts if len(part)]
        self._ends = list(accumulate(map(len, self._parts)))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only positions from the start are supported")
        self._position = offset
        return offset

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Copy from at most one part per call."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._parts):
            return 0
        left = self._ends[index] - self._position
        count = min(left, len(buffer))
        start = len(self._parts[index]) - left
        buffer[:count] = self._parts[index][start : start + count]
        self._position += count
        return count
