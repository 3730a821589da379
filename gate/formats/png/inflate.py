"""Inflate the compressed pixels of a PNG with zlib, once and in pieces.

zlib takes at most 0.1 s for each MB, whatever the blocks of the stream are.
"""

import zlib
from collections.abc import Iterator, Sequence

from gate.formats.png.chunks import ParsedPng

_PIECE, _BLOCK = 2**14, 2**15
"""Bytes that are inflated at a time, and largest number of bytes of a result."""


def scan_lines(png: ParsedPng) -> Iterator[bytes]:
    """Yield all filtered scan lines, in parts below 64 kB; then verify the checksum of the stream unless it holds more.

    Raises:
        zlib.error: the stream is damaged.
        ValueError: the stream ends before the last row does.
    """
    inflater = zlib.decompressobj()
    missing = png.scan_line_bytes
    for piece in _pieces(png.stream):
        more: memoryview | bytes = piece
        if missing == 0:
            more = inflater.decompress(piece, 1)
        while missing > 0 and (lines := inflater.decompress(more, min(missing, _BLOCK))):
            missing -= len(lines)
            yield lines
            more = inflater.unconsumed_tail
        if inflater.eof or (missing == 0 and more):
            break
    if missing > 0:
        raise ValueError("the compressed pixels end before the last row does")


def _pieces(stream: Sequence[memoryview]) -> Iterator[memoryview | bytes]:
    for part in stream:
        for start in range(0, len(part), _PIECE):
            yield part[start : start + _PIECE]
