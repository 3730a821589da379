"""The fast way from a PNG to the model's pixels: libdeflate inflates, `scanlines.c` does the rest in one pass.

It takes what generators write, RGB and RGBA of 8 bits, and only files that are whole. Whatever else there is, damage
included, it leaves to libpng, whose word is final: a file is read, or refused, as if this module were not there.
"""

import ctypes
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from gate.chunks import Data, png_chunks
from gate.header import Header

Pixels = NDArray[np.uint8]

_PICTURE = struct.Struct(">IIBBBBB")
_CHANNELS = {2: 3, 6: 4}  # Colour types: RGB, RGBA.
_BIG_WINDOW = 0x78
"""First byte of a zlib stream that may look back 32 kB: libpng holds a stream to what it says, libdeflate does not."""

_DECIDED_BY_LIBPNG = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_MOST_KEPT = 16 * 2**20
_DONE = 0

_codecs: Any = imagecodecs  # Its stubs know of no arrays.

_Shrink = Callable[..., int]


class Room(threading.local):
    """Memory that a thread keeps between pictures: fresh pages would cost more than what is done in them."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)

    def of(self, length: int) -> Pixels:
        """`length` bytes with anything in them, the caller's until the thread asks again."""
        if length > _MOST_KEPT:
            return np.empty(length, np.uint8)
        if self._kept.size < length:
            self._kept = np.empty(length, np.uint8)
        return self._kept[:length]


def load_library(path: Path) -> _Shrink | None:
    """The compiled `scanlines.c`, or None where none was built, or for another machine than this one."""
    try:
        shrink = ctypes.CDLL(str(path)).lensgate_shrink
    except (OSError, AttributeError):
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    shrink.argtypes = [pointer, size, size, size, size, size, pointer, size]
    shrink.restype = ctypes.c_int
    loaded: _Shrink = shrink
    return loaded


_streams, _lines = Room(), Room()
_shrink = load_library(Path(__file__).with_name("scanlines.so"))
ACCELERATED = _shrink is not None
"""Whether PNGs take the fast way: it needs what the installation compiles where it finds a C compiler."""


def shrink_png(data: Data, header: Header, sizes: Sequence[int]) -> list[Pixels] | None:
    """Decode a PNG and shrink it by area averaging: the very bytes that libpng and `area_average` give.

    Args:
        data: the file's bytes.
        header: what `read_header` says of them, its size checked.
        sizes: edges of the models' inputs, in pixels.

    Returns:
        uint8 `[size, size, 3]` for each of `sizes`, as stored, or None: then libpng has to decide.
    """
    if _shrink is None or any(header.width % size or header.height % size for size in sizes):
        return None
    channels = _channels(data, header)
    stream = _stream(data) if channels else None
    lines = None if stream is None else _inflate(stream, header.height * (1 + header.width * channels))
    return None if lines is None else _shrink_all(_shrink, lines, header, channels=channels, sizes=sizes)


def _channels(data: Data, header: Header) -> int:
    """3 or 4, or 0 if the picture is none of ours."""
    kind, start, end = next(png_chunks(data), (b"", 0, 0))
    if kind != b"IHDR" or end - start != _PICTURE.size:
        return 0
    width, height, depth, colour, *ways = _PICTURE.unpack_from(data, start)
    is_ours = (width, height, depth, ways) == (header.width, header.height, 8, [0, 0, 0])
    return _CHANNELS.get(colour, 0) if is_ours else 0


def _stream(data: Data) -> Pixels | None:
    """The compressed picture, if every chunk up to the end is where it belongs and none that counts is damaged."""
    view = np.frombuffer(data, np.uint8)
    parts: list[Pixels] = []
    is_over = False
    for index, (kind, start, end) in enumerate(png_chunks(data)):
        if not _is_expected(kind, index, is_over=is_over) or not _is_sound(view[start - 4 : end + 4], kind):
            return None
        if kind == b"IEND" and parts:
            return np.concatenate(parts, out=_streams.of(sum(part.size for part in parts)))
        if kind == b"IDAT":
            parts.append(view[start:end])
        is_over = bool(parts) and kind != b"IDAT"
    return None


def _is_expected(kind: bytes, index: int, *, is_over: bool) -> bool:
    if index == 0:
        return kind == b"IHDR"
    return (kind == b"IDAT" and not is_over) or kind == b"IEND" or _is_extra(kind)


def _is_extra(kind: bytes) -> bool:
    """Whether a chunk may be skipped: by its name nobody has to understand it, and it changes no pixel."""
    return kind.isalpha() and kind[:1].islower() and kind[2:3].isupper() and kind not in _DECIDED_BY_LIBPNG


def _is_sound(chunk: Pixels, kind: bytes) -> bool:
    """Whether the checksum after name and body is theirs; of what is skipped, nobody asks."""
    checksum = int.from_bytes(chunk[-4:].tobytes())
    return kind[:1].islower() or bool(_codecs.deflate_crc32(chunk[:-4]) == checksum)


def _inflate(stream: Pixels, length: int) -> Pixels | None:
    """The scan lines, `length` bytes and not one more or less."""
    if stream.size == 0 or stream[0] != _BIG_WINDOW:
        return None
    try:
        lines: Pixels = _codecs.deflate_decode(stream, raw=False, out=_lines.of(length))
    except imagecodecs.DeflateError:
        return None
    return lines if lines.size == length else None


def _shrink_all(
    shrink: _Shrink, lines: Pixels, header: Header, *, channels: int, sizes: Sequence[int]
) -> list[Pixels] | None:
    found = []
    for size in sizes:
        means = np.empty((size, size, 3), np.uint8)
        picture = (lines.ctypes.data, lines.size, header.width, header.height, channels)
        if shrink(*picture, size, means.ctypes.data, means.size) != _DONE:
            return None
        found.append(means)
    return found
