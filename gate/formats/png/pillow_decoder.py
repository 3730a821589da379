"""Decode every kind of PNG with Pillow, from a rebuilt file that holds only the header and the stored scan lines.

It reads the files that `gate.formats.png.fast_decoder` does not take: grey, palettes, 16 bits, interlacing, transparent
colours, edges that the model's size does not divide. Text, colour profiles and animations never reach the decoder.
Palette and transparency are applied here, on bands of rows: Pillow keeps eight bits a channel and compares a 16-bit
transparent colour with those. It holds 4 bytes a pixel.

Pillow receives scan lines that are inflated and counted already: it would accept a stream that lacks up to one row.
"""

import io
import struct
from collections import deque
from collections.abc import Iterator
from functools import cache, partial

import deflate
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from gate.averaging import DecodedImage, ReadRows, band_of
from gate.formats.png.chunks import GREY, PALETTE, PNG_SIGNATURE, RGB, ParsedPng
from gate.formats.png.inflate import scan_lines
from gate.types import Pixels

_LOW_BYTES = "RGB;16L"
"""Pillow's raw mode that keeps the low byte of each 16-bit big-endian RGB sample."""


def decode_png(png: ParsedPng) -> DecodedImage:
    """Decode the full image.

    Raises:
        Exception: the compressed pixels are damaged or too short; Pillow and zlib raise several types.
    """
    image = _load(png)
    if image.size != (png.width, png.height):
        raise ValueError("the decoded size differs from the header's")
    return DecodedImage(png.height, png.width, _finish(png, image))


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
    parts = _file(png)
    image = PngImagePlugin.PngImageFile(io.BufferedReader(_Generated(parts), 2**16))
    if rawmode is not None:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    deque(parts, maxlen=0)  # Pillow may stop after the last row; the checksum of the stream follows it.
    return image


def _file(png: ParsedPng) -> Iterator[bytes]:
    """Yield the parts of a file with only the header and the scan lines, stored without compression."""
    header = struct.pack(">IIBBBBB", png.width, png.height, png.depth, png.colour, 0, 0, png.is_interlaced)
    yield PNG_SIGNATURE + _chunk(b"IHDR", header)
    start = b"\x78\x01"
    for lines in scan_lines(png):
        yield _chunk(b"IDAT", start + struct.pack("<BHH", 0, len(lines), len(lines) ^ 0xFFFF) + lines)
        start = b""
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", deflate.crc32(body, deflate.crc32(kind)))


class _Generated(io.RawIOBase):
    """Read generated parts as one file. Pillow seeks back only by a few bytes, which are still buffered."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._part = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Copy from at most one part per call."""
        if not self._part:
            self._part = memoryview(next(self._parts, b""))
        count = min(len(self._part), len(buffer))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        self._position += count
        return count
