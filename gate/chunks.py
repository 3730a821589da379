"""The chunks that a PNG file is made of."""

import struct
from collections.abc import Iterator

Data = bytes | bytearray
"""The bytes of a file, from a disk or as they came in from the network."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEAD = struct.Struct(">I4s")
_MOST = 10_000
"""Chunks that are looked at: of 8 kB, as libpng writes them, they hold 80 MB."""


def png_chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk's body, as far as chunks are whole, up to the last or the 10,000th.

    A body begins after its name and ends before its checksum, of which nothing is said.
    """
    start = len(PNG_SIGNATURE) + 8
    for _ in range(_MOST):
        if start + 4 > len(data):
            return
        length, kind = _HEAD.unpack_from(data, start - 8)
        end = start + length
        if end + 4 > len(data):
            return
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end + 12
