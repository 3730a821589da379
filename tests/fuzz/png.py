"""PNG pixels against Pillow: both read the same files, to the same pixels.

An input is a file, whose checksums are corrected first so that decoders get past them, or a recipe: a header,
tables and scan lines that are compressed here, since mutations of compressed data rarely inflate.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from gate.averaging import area_average
from gate.errors import ImageError
from gate.pixels import read_pixels_at
from tests.support.images import PNG_SIGNATURE, Pixels, encode, flat, png_chunk

MAX_BYTES = 4_096
WORDS = (b"\x89PNG\r\n\x1a\n", b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fdAT", b"CgBI")
EDGE = 64
"""Larger pictures are left out: of those everything is seen too, and slower."""

Chunks = list[tuple[bytes, bytes]]
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_IHDR = struct.Struct(">IIBBBBB")
_COLOURS = (0, 2, 3, 4, 6)
_DEPTHS = (1, 2, 4, 8, 16)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def by_gate(data: bytes, sizes: tuple[int, ...]) -> list[Pixels] | None:
    """Return the pixels at each of these sizes; None if the gate refuses. Adapts the target to `gate`."""
    try:
        return read_pixels_at(data, sizes)
    except ImageError:
        return None


def by_pillow(data: bytes) -> Pixels | None:
    """Return all pixels, RGB over black, 16 bits cut to 8; None if Pillow refuses."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            if image.mode.startswith("I"):
                grey: Pixels = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            pixels: Pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except Exception:  # It raises anything on damaged files.
        return None
    if pixels.shape[2] == 3:
        return pixels
    over_black: Pixels = ((pixels[:, :, :3].astype(np.uint16) * pixels[:, :, 3:] + 127) // 255).astype(np.uint8)
    return over_black


def check(data: bytes) -> None:
    """Raise AssertionError, or another exception, if the two disagree without an exemption below."""
    chunks = _chunks(data) if data.startswith(PNG_SIGNATURE) else recipe_of(data)
    header = _IHDR.unpack(chunks[0][1]) if chunks and chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13 else None
    if header is None or header[0] != header[1] or not 1 <= header[0] <= EDGE:
        by_gate(data, (1,))
        return
    by_gate(file_of(chunks), (1,))
    pictured = [chunk for chunk in chunks if chunk[0] in _PIXELS]
    _compare(file_of(pictured), pictured, header[0])


def _compare(file: bytes, chunks: Chunks, edge: int) -> None:
    sizes = (edge, edge // 2) if edge % 2 == 0 else (edge,)
    found, wanted = by_gate(file, sizes), by_pillow(file)
    assert found is None or not _lacks_rows(chunks), "the gate reads a PNG that lacks pixels"
    if (found is None) != (wanted is None):
        reader = "Pillow" if found is None else "the gate"
        assert any(excuse(chunks) for excuse in VERDICTS), f"only {reader} reads this PNG"
    if found is not None:
        _check_refused(chunks, zlib.crc32(file))
    if found is not None and wanted is not None and not any(excuse(chunks) for excuse in LEVELS):
        assert np.array_equal(found[0], wanted), "the pixels differ"
        if len(sizes) == 2:
            assert np.array_equal(found[1], area_average(wanted, sizes[1])), "the means differ"


def _check_refused(chunks: Chunks, choice: int) -> None:
    """Change one field of a file that was read: a checksum, or an unknown chunk that is critical."""
    kinds = [kind for kind, _ in chunks]
    start = kinds.index(b"IDAT")
    read = start + next((place for place, kind in enumerate(kinds[start:]) if kind != b"IDAT"), len(kinds) - start)
    parts = [png_chunk(kind, body) for kind, body in chunks]
    place = choice % (read + 1)
    if place < read:
        parts[place] = parts[place][:-1] + bytes([parts[place][-1] ^ 1])
    else:
        parts.insert(1, png_chunk(b"ABCd", b""))
    changed = "a wrong checksum" if place < read else "an unknown critical chunk"
    assert by_gate(PNG_SIGNATURE + b"".join(parts), (1,)) is None, f"the gate reads a PNG with {changed}"


def _is_odd(chunks: Chunks) -> bool:
    """A file that breaks the standard's order: the gate refuses more of these than Pillow, and says so."""
    kinds = [kind for kind, _ in chunks]
    runs = [kind for kind, _ in itertools.groupby(kinds)]
    tables = [kind for kind in runs if kind in (b"PLTE", b"tRNS")]
    return (
        kinds[:1] != [b"IHDR"]
        or kinds.count(b"IHDR") > 1
        or len(runs) != len(set(runs))
        or b"IEND" not in kinds
        or len(tables) < sum(kind in (b"PLTE", b"tRNS") for kind in kinds)
    )


def _has_key_beyond_pillow(chunks: Chunks) -> bool:
    """One transparent level: Pillow compares that of 16, 4 or 2 bits with the 8 it keeps."""
    header = _IHDR.unpack(chunks[0][1])
    return header[3] in (0, 2) and any(kind == b"tRNS" for kind, _ in chunks) and header[2] != 8


def _has_wrong_table(chunks: Chunks) -> bool:
    """A palette or transparency of a wrong length: Pillow accepts any palette, and longer transparent colours."""
    _, _, depth, colour, *_ = _IHDR.unpack(chunks[0][1])
    lengths = {kind: len(body) for kind, body in chunks if kind in (b"PLTE", b"tRNS")}
    entries, odd = divmod(lengths.get(b"PLTE", 0 if colour == 3 else 3), 3)
    clear = lengths.get(b"tRNS", 0)
    if b"tRNS" in lengths and clear != {0: 2, 2: 6}.get(colour, clear):
        return True
    return bool(odd) or not 1 <= entries <= 256 or (colour == 3 and clear > min(entries, 1 << depth))


def _names_unknown_way(chunks: Chunks) -> bool:
    """A compression, a filter or an order of rows that the standard does not have, which Pillow does not look at."""
    *_, compression, filters, interlace = _IHDR.unpack(chunks[0][1])
    return bool(compression or filters or interlace > 1)


def _lacks_rows(chunks: Chunks) -> bool:
    """Less than the header's rows in the stream: Pillow accepts some, depending on how IDAT is split, the gate none."""
    width, _, depth, colour, _, _, interlace = _IHDR.unpack(chunks[0][1])
    if colour not in _SAMPLES:
        return False
    stream = b"".join(body for kind, body in chunks if kind == b"IDAT")
    try:
        lines = zlib.decompressobj().decompress(stream)
    except zlib.error:
        return False
    return len(lines) < len(_lines(b"", width, colour, depth, is_interlaced=bool(interlace), is_whole=True))


VERDICTS: tuple[Callable[[Chunks], bool], ...] = (_is_odd, _has_wrong_table, _names_unknown_way, _lacks_rows)
"""Files that only one of the two may accept."""

LEVELS: tuple[Callable[[Chunks], bool], ...] = (_has_key_beyond_pillow, _has_wrong_table, _is_odd)
"""Files whose pixels may differ."""


def _chunks(data: bytes) -> Chunks:
    """Names and bodies, as far as they are whole."""
    found: Chunks = []
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        found.append((kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def file_of(chunks: Chunks) -> bytes:
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks)


def recipe_of(data: bytes) -> Chunks:
    """Build a file from the header, tables and scan lines in the input."""
    if len(data) < 8:
        return []
    colour, depth = _COLOURS[data[0] % 5], _DEPTHS[data[1] % 5]
    edge, flags, palette, clear, split = 1 + data[2] % EDGE, data[3], 3 * data[4], data[5], 1 + data[6]
    rest = data[8:]
    tables = [(b"PLTE", rest[:palette])] * bool(palette) + [(b"tRNS", rest[palette : palette + clear])] * bool(clear)
    lines = _lines(
        rest[palette + clear :], edge, colour, depth, is_interlaced=bool(flags & 1), is_whole=bool(flags & 2)
    )
    pressed = zlib.compressobj(flags >> 6, wbits=9 + (flags >> 3) % 7)
    stream = pressed.compress(lines) + pressed.flush()
    parts = [(b"IDAT", stream[first : first + 64 * split]) for first in range(0, len(stream), 64 * split)]
    header = _IHDR.pack(edge, edge, depth, colour, 0, 0, flags & 1)
    return [(b"IHDR", header), *tables, *parts, (b"IEND", b"")]


def _lines(data: bytes, edge: int, colour: int, depth: int, *, is_interlaced: bool, is_whole: bool) -> bytes:
    """Return the input as scan lines: unchanged, or extended to the size of the image with valid filters."""
    if not is_whole:
        return data
    found, source = bytearray(), itertools.cycle(data or b"\0")
    for x, y, right, down in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(edge - x) // right), -(-(edge - y) // down)
        width = (columns * _SAMPLES[colour] * depth + 7) // 8
        for _ in range(rows if columns > 0 else 0):
            found.append(next(source) % 5)
            found += bytes(itertools.islice(source, width))
    return bytes(found)


def seeds() -> Iterator[bytes]:
    """A recipe of each kind, and small files."""
    for colour, depth, flags in itertools.product(range(5), range(5), (2, 3, 0b10111010)):
        palette, clear = (4, 2) if _COLOURS[colour] == 3 else (0, 0)
        yield bytes([colour, depth, 7, flags, palette, clear, 255, 0]) + bytes(range(1, 90, 3))
    yield bytes([0, 3, 7, 2, 0, 2, 255, 0]) + b"\0\x07" + bytes(range(60))
    yield bytes([1, 3, 7, 2, 0, 6, 0, 0]) + b"\0\1\0\2\0\3" + bytes(range(60))
    yield from (encode(flat(200, 8), optimize=optimize) for optimize in (False, True))
    file = encode(flat(200, 8))
    yield file[:-20]
    yield file[:33] + png_chunk(b"acTL", bytes(8)) + png_chunk(b"tEXt", b"a\0b") + file[33:]
