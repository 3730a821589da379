"""Walk over the chunks of a PNG file, and collect those that its pixels need."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import deflate

from gate.errors import CorruptImage, UnsupportedImage
from gate.formats.joined_files import check_alone
from gate.types import ImageBytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of the PNG specification."""

_HEAD = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, step of columns and step of rows of each interlace pass, from the PNG specification."""

_MAX_CHUNKS = 2**16
"""Limit of chunks in one file: at 8 kB each, as libpng writes them, they hold 500 MB. Walking over them takes 50 ms."""

_MAX_KEYED_BYTES = 6 * 2**20
"""Limit of compressed pixels with 16 bits a channel and a transparent colour, which are inflated twice: 16 MB of blocks
with few pixels take up to 1.5 s each time."""

_LONGEST_TABLE = 3 * 256 + 1
"""Kept bytes of a PLTE or tRNS chunk: one more than the maximum, so that the length check sees the excess."""


@dataclass(frozen=True, slots=True)
class ParsedPng:
    """Everything that determines the pixels of a PNG.

    `palette` and `transparency` are the bodies of PLTE and tRNS, empty if absent or not applicable; `stream` holds the
    parts of the compressed pixels, as views of the file.
    """

    width: int
    height: int
    depth: int
    colour: int
    is_interlaced: bool
    palette: bytes
    transparency: bytes
    stream: Sequence[memoryview]

    @property
    def scan_line_bytes(self) -> int:
        """Length of all filtered scan lines, in bytes: the compressed pixels of a whole file hold as many."""
        pixel = _SAMPLES[self.colour] * self.depth
        passes = _ADAM7 if self.is_interlaced else ((0, 0, 1, 1),)
        sizes = ((-(-(self.width - x) // right), -(-(self.height - y) // down)) for x, y, right, down in passes)
        return sum(rows * (1 + (columns * pixel + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def png_chunks(data: ImageBytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk's body up to IEND, or to the first truncated chunk.

    A body begins after the name and ends before the checksum, which is not verified here.

    Raises:
        CorruptImage: there are more than 65,536 chunks.
        UnsupportedImage: another image or a form field follows.
    """
    start = len(PNG_SIGNATURE) + 8
    for _ in range(_MAX_CHUNKS):
        if start + 4 > len(data):
            return
        length, kind = _HEAD.unpack_from(data, start - 8)
        end = start + length
        if end + 4 > len(data):
            return
        yield kind, start, end
        if kind == b"IEND":
            check_alone(data, end + 4)
            return
        start = end + 12
    raise CorruptImage(f"the png is split into more than {_MAX_CHUNKS:,} chunks, as no encoder would: encode it again")


def is_sound(view: memoryview, start: int, end: int) -> bool:
    """Verify the checksum that follows the body from `start` to `end`; it covers the name too."""
    return deflate.crc32(view[start - 4 : end]) == int.from_bytes(view[end : end + 4])


def read_png_header(data: ImageBytes) -> tuple[int, int, int, int]:
    """Return width, height, depth and colour type from the IHDR chunk.

    Raises:
        CorruptImage: IHDR is not the first chunk, or is damaged.
        UnsupportedImage: the file is Apple's variant of PNG, which other decoders do not read.
        struct.error: the file ends inside it.
    """
    length, kind = _HEAD.unpack_from(data, len(PNG_SIGNATURE))
    if kind == b"CgBI":
        raise UnsupportedImage("the png is Apple's CgBI variant for iOS: convert it to a standard PNG")
    start = len(PNG_SIGNATURE) + _HEAD.size
    if kind != b"IHDR" or length != _IHDR.size:
        raise CorruptImage("the png does not begin with an IHDR chunk of 13 bytes")
    width, height, depth, colour, *_ = _IHDR.unpack_from(data, start)
    if not is_sound(memoryview(data), start, start + length):
        raise CorruptImage("the png's IHDR chunk is damaged: its checksum is wrong")
    return width, height, depth, colour


def parse_png(data: ImageBytes) -> ParsedPng:
    """Collect the chunks that the pixels need; ignore all other chunks.

    Bytes after the compressed pixels are not read: the file may continue, or end without IEND.

    Raises:
        CorruptImage: a chunk that pixels depend on is missing, damaged, out of place or unknown.
        UnsupportedImage: decoding could take too long.
    """
    view = memoryview(data)
    stream: list[memoryview] = []
    tables: dict[bytes, bytes] = {}
    header = _IHDR.unpack_from(data, len(PNG_SIGNATURE) + _HEAD.size)
    _, _, depth, colour, *_ = header
    chunks = png_chunks(data)
    next(chunks, None)  # IHDR
    for kind, start, end in chunks:
        if kind == b"IDAT":
            stream.append(_checked(view, kind, start, end))
        elif stream or kind == b"IEND":
            break
        elif kind in (b"PLTE", b"tRNS"):
            _add_table(tables, kind, _checked(view, kind, start, end), colour=colour, depth=depth)
        elif not (kind.isalpha() and kind[:1].islower()):
            raise CorruptImage(
                f"the png has a chunk {kind!r} before its pixels that may not be skipped: encode it again"
            )
    if not stream:
        raise CorruptImage("the png is damaged or incomplete: there is no whole IDAT chunk")
    return _parsed(header, tables, stream)


def _checked(view: memoryview, kind: bytes, start: int, end: int) -> memoryview:
    if not is_sound(view, start, end):
        raise CorruptImage(f"the png is damaged: the checksum of a chunk {kind.decode()} is wrong")
    return view[start:end]


def _add_table(tables: dict[bytes, bytes], kind: bytes, body: memoryview, *, colour: int, depth: int) -> None:
    """Keep a PLTE chunk, and the first tRNS chunk that fits the image: libpng ignores those that do not."""
    if kind == b"PLTE" and kind in tables:
        raise CorruptImage("the png has two palettes")
    entries = min(len(tables.get(b"PLTE", b"")) // 3, 1 << depth)
    if kind == b"PLTE" or _applies(len(body), colour, entries=entries):
        tables.setdefault(kind, bytes(body[:_LONGEST_TABLE]))


def _parsed(header: tuple[int, ...], tables: dict[bytes, bytes], stream: Sequence[memoryview]) -> ParsedPng:
    width, height, depth, colour, compression, filters, interlace = header
    if depth not in _DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
        raise CorruptImage("the png's IHDR chunk names a depth, colour type or method that PNG does not define")
    palette = tables.get(b"PLTE", b"") if colour == PALETTE else b""
    if colour == PALETTE and (len(palette) % 3 or not 3 <= len(palette) <= 3 * 256):
        raise CorruptImage("the png has no palette, or one of a wrong length")
    if (depth, colour) == (16, RGB) and b"tRNS" in tables and sum(map(len, stream)) > _MAX_KEYED_BYTES:
        raise UnsupportedImage(
            "the png has 16 bits a channel, a transparent colour and more than 6 MiB of compressed pixels: convert it "
            "to 8 bits a channel"
        )
    return ParsedPng(width, height, depth, colour, interlace == 1, palette, tables.get(b"tRNS", b""), stream)


def _applies(length: int, colour: int, *, entries: int) -> bool:
    """Whether a tRNS chunk of this length fits the image; `entries` of the palette are before it."""
    return 1 <= length <= entries if colour == PALETTE else length == {GREY: 2, RGB: 6}.get(colour)
