"""Fast path from a PNG to the model's pixels: libdeflate inflates, `scanlines.c` unfilters and averages in one pass.

It decodes 8-bit RGB and RGBA, the formats that generators write. Other files, and small ones that are not complete, go
to `gate.formats.png.pillow_decoder`; streams above 4 MiB are inflated with zlib here. A file gives the same pixels,
or an error with the same code, with and without this module. One exception is known: libdeflate reads a stream that
announces more than 286 length codes or 30 distance codes, and zlib refuses it. The checksum of the pixels still has to
match.

Colour: pixels are taken as stored. iCCP, sRGB, gAMA, cHRM and cICP are not applied; a PNG that announces HDR (PQ or
HLG) is refused when the header is read.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import deflate
import numpy as np

from gate.errors import CorruptImage
from gate.formats.png.chunks import RGB, RGBA, ParsedPng
from gate.formats.png.inflate import scan_lines
from gate.types import Pixels

_CHANNELS = {RGB: 3, RGBA: 4}
_DONE = 0

_LARGE = 2**22
"""Larger streams are inflated with zlib, at half the speed: libdeflate builds the table of fixed codes again after each
block with codes of its own, and 16 MB of tiny blocks of both kinds took 5 s."""

_Shrink = Callable[..., int]


def load_library(path: Path) -> _Shrink | None:
    """Load the compiled `scanlines.c`; return None if it is missing or built for another machine."""
    try:
        shrink = ctypes.CDLL(str(path)).lensgate_shrink
    except (OSError, AttributeError):
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    shrink.argtypes = [pointer, size, size, size, size, size, pointer, size]
    shrink.restype = ctypes.c_int
    loaded: _Shrink = shrink
    return loaded


LIBRARY = load_library(Path(__file__).with_name("scanlines.so"))
ACCELERATED = LIBRARY is not None
"""Whether PNGs take the fast path; the installation compiles it if it finds a C compiler."""


def shrink_png(png: ParsedPng, sizes: Sequence[int]) -> list[Pixels] | None:
    """Inflate a PNG and shrink it by area averaging, to the same bytes as `pillow_decoder` and `area_average`.

    Args:
        png: the parsed file; its size has been checked.
        sizes: edges of the models' inputs, in pixels.

    Returns:
        uint8 `[size, size, 3]` for each of `sizes`, as stored; None if Pillow has to decode the file.

    Raises:
        CorruptImage, zlib.error, ValueError: the file is damaged or incomplete.
    """
    if LIBRARY is None or not _is_supported(png) or any(png.width % size or png.height % size for size in sizes):
        return None
    is_large = sum(map(len, png.stream)) > _LARGE
    lines = _inflate_large(png) if is_large else _inflate(png)
    shrunk = None if lines is None else _shrink_all(LIBRARY, lines, png, sizes)
    if shrunk is None and is_large:  # Pillow would inflate it again, and refuse it too.
        raise CorruptImage("the png is damaged: a row has a filter that PNG does not define")
    return shrunk


def _is_supported(png: ParsedPng) -> bool:
    return png.colour in _CHANNELS and png.depth == 8 and not png.is_interlaced and not png.transparency


def _inflate(png: ParsedPng) -> Pixels | None:
    """Return the scan lines; None unless the stream is complete and holds exactly these."""
    stream = png.stream[0] if len(png.stream) == 1 else b"".join(png.stream)
    length = png.scan_line_bytes
    try:
        lines = deflate.zlib_decompress(stream, length)  # An error if the stream holds more.
    except deflate.DeflateError:
        return None
    return np.frombuffer(lines, np.uint8) if len(lines) == length else None


def _inflate_large(png: ParsedPng) -> Pixels:
    lines = np.empty(png.scan_line_bytes, np.uint8)
    start = 0
    for part in scan_lines(png):
        lines[start : start + len(part)] = np.frombuffer(part, np.uint8)
        start += len(part)
    return lines


def _shrink_all(shrink: _Shrink, lines: Pixels, png: ParsedPng, sizes: Sequence[int]) -> list[Pixels] | None:
    shrunk = []
    for size in sizes:
        means = np.empty((size, size, 3), np.uint8)
        source = (lines.ctypes.data, lines.size, png.width, png.height, _CHANNELS[png.colour])
        if shrink(*source, size, means.ctypes.data, means.size) != _DONE:
            return None
        shrunk.append(means)
    return shrunk
