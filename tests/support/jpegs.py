"""JPEG files that Pillow does not write: any sampling factors, components and restart intervals.

A baseline encoder over the standard tables, which are taken from a file of Pillow's. It is slow: use small images.
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.images import Pixels, encode

Segment = tuple[int, bytes]
Factors = Sequence[tuple[int, int]]

ADOBE_YCCK = b"Adobe\x00\x64\x00\x00\x00\x00\x02"
ADOBE_PLAIN = b"Adobe\x00\x64\x00\x00\x00\x00\x00"
JFIF = b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

_BASIS = np.cos((2 * np.arange(8)[None, :] + 1) * np.arange(8)[:, None] * np.pi / 16) / 2
_BASIS[0] /= np.sqrt(2)
_ZIGZAG = sorted(range(64), key=lambda at: (s := sum(divmod(at, 8)), at // 8 if s % 2 else at % 8))


def segments(data: bytes) -> tuple[list[Segment], bytes]:
    """Return marker and body of each segment up to and including the first start of scan, and the remaining bytes."""
    position, found = 2, list[Segment]()
    while not found or found[-1][0] != 0xDA:
        marker, length = struct.unpack_from(">xBH", data, position)
        found.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return found, data[position:]


def join(parts: Sequence[Segment], coded: bytes) -> bytes:
    """A JPEG of these segments."""
    return b"\xff\xd8" + b"".join(segment(marker, body) for marker, body in parts) + coded


def segment(marker: int, body: bytes) -> bytes:
    """One segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def sampled_jpeg(
    planes: Sequence[Pixels],
    factors: Factors,
    *,
    restart: int = 0,
    extra: Sequence[Segment] = ((0xE0, JFIF),),
    ids: Sequence[int] = (1, 2, 3, 4),
    quantizer: int = 4,
) -> bytes:
    """A baseline JPEG of `planes`, uint8 `[H, W]` each, stored at the sampling factors (horizontal, vertical) of each.

    `restart`: units between restart markers; `extra`: segments in front; `quantizer`: step of all coefficients.
    """
    height, width = planes[0].shape
    head = _head(width, height, factors, restart=restart, extra=extra, ids=ids, quantizer=quantizer)
    if len(planes) == 1:
        factors = [(1, 1)]  # With a single component the factors in the header have no effect.
    widest, tallest = max(h for h, _ in factors), max(v for _, v in factors)
    columns, rows = -(-width // (8 * widest)), -(-height // (8 * tallest))
    tables = _tables()
    coder = [_Coder(tables, 0 if index == 0 else 1) for index in range(len(planes))]
    blocks = [
        _blocks(plane, (h, v), (widest, tallest), (rows, columns), quantizer)
        for plane, (h, v) in zip(planes, factors, strict=True)
    ]
    bits, coded, count = "", b"", 0
    for unit in range(rows * columns):
        if restart and unit and unit % restart == 0:
            coded += _bytes(bits) + bytes([0xFF, 0xD0 + count % 8])
            bits, count = "", count + 1
            for each in coder:
                each.previous = 0
        for each, levels, (h, v) in zip(coder, blocks, factors, strict=True):
            top, left = unit // columns * v, unit % columns * h
            bits += "".join(each.code(levels[top + y, left + x]) for y in range(v) for x in range(h))
    return join(head, coded + _bytes(bits) + b"\xff\xd9")


def lossless_jpeg(edge: int, *, factors: int = 0x11, components: int = 3, transform: int = 0) -> bytes:
    """Encode one grey value as lossless Huffman (SOF3) JPEG of `edge` x `edge` pixels.

    `factors` are the sampling factors of the first component; `transform` is Adobe's: 0 for RGB or CMYK, 1 for YCbCr,
    2 for YCCK. The predictor is 1 and samples never change: every difference is 0, so that one-bit codes of 0 hold the
    picture.
    """
    numbers = range(1, components + 1)
    parts = b"".join(bytes((number, factors if number == 1 else 0x11, 0)) for number in numbers)
    frame = struct.pack(">BHHB", 8, edge, edge, components) + parts
    # One code of one bit, which stands for a difference of no bits.
    table = bytes((0x00, 1)) + bytes(15) + bytes((0,))
    scan = bytes((components, *(byte for number in numbers for byte in (number, 0)), 1, 0, 0))
    header = segment(0xC3, frame) + segment(0xC4, table) + segment(0xDA, scan)
    adobe = segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))
    return b"\xff\xd8" + adobe + header + bytes(edge * edge * components // 8) + b"\xff\xd9"


def planes_of(pixels: Pixels, mode: str = "YCbCr") -> list[Pixels]:
    """The channels of RGB pixels in another of Pillow's modes; CMYK inverted, as Adobe stores it."""
    image = np.asarray(Image.fromarray(pixels).convert(mode))
    image = 255 - image if mode == "CMYK" else image
    return [np.ascontiguousarray(image[:, :, channel]) for channel in range(image.shape[2])]


class _Coder:
    """Huffman codes of one component's blocks."""

    def __init__(self, tables: dict[int, dict[int, str]], table: int) -> None:
        self._dc, self._ac, self.previous = tables[table], tables[0x10 + table], 0

    def code(self, levels: NDArray[np.int64]) -> str:
        """The bits of one block, 64 levels in zigzag order."""
        step, self.previous = int(levels[0]) - self.previous, int(levels[0])
        bits = self._dc[_size(step)] + _amplitude(step)
        run = 0
        for level in map(int, np.trim_zeros(levels[1:], "b")):
            if level == 0:
                run += 1
                continue
            bits += self._ac[0xF0] * (run // 16) + self._ac[run % 16 << 4 | _size(level)] + _amplitude(level)
            run = 0
        return bits if levels[63] else bits + self._ac[0]


def _blocks(
    plane: Pixels, factors: tuple[int, int], most: tuple[int, int], units: tuple[int, int], quantizer: int
) -> NDArray[np.int64]:
    """Quantized coefficients, `[block rows, block columns, 64]`."""
    (h, v), (rows, columns) = factors, units
    height, width = plane.shape
    size = (-(-width * h // most[0]), -(-height * v // most[1]))
    small = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))
    full = (rows * v * 8, columns * h * 8)
    padded = np.pad(small, [(0, full[0] - size[1]), (0, full[1] - size[0])], mode="edge").astype(np.float64) - 128
    tiles = padded.reshape(full[0] // 8, 8, full[1] // 8, 8).swapaxes(1, 2)
    coefficients = np.rint(_BASIS @ tiles @ _BASIS.T / quantizer).astype(np.int64)
    return coefficients.reshape(*coefficients.shape[:2], 64)[:, :, _ZIGZAG]


def _head(
    width: int,
    height: int,
    factors: Factors,
    *,
    restart: int,
    extra: Sequence[Segment],
    ids: Sequence[int],
    quantizer: int,
) -> list[Segment]:
    count = len(factors)
    frame = struct.pack(">BHHB", 8, height, width, count)
    scan = bytes([count])
    for index, (h, v) in enumerate(factors):
        frame += bytes([ids[index], h << 4 | v, 0])
        scan += bytes([ids[index], 0x11 * (index > 0)])
    standard = [part for part in segments(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"))[0] if part[0] == 0xC4]
    return [
        *extra,
        (0xDB, bytes([0]) + bytes([quantizer]) * 64),
        (0xC0, frame),
        *standard,
        *([(0xDD, struct.pack(">H", restart))] if restart else []),
        (0xDA, scan + b"\x00\x3f\x00"),
    ]


def _tables() -> dict[int, dict[int, str]]:
    """Class and number of each standard Huffman table -> symbol -> code."""
    tables: dict[int, dict[int, str]] = {}
    for marker, rest in segments(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"))[0]:
        body = rest
        while marker == 0xC4 and body:
            counts, code, position = body[1:17], 0, 17
            table = tables.setdefault(body[0], {})
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    table[body[position]] = f"{code:0{length}b}"
                    code, position = code + 1, position + 1
                code <<= 1
            body = body[position:]
    return tables


def _size(level: int) -> int:
    return abs(level).bit_length()


def _amplitude(level: int) -> str:
    size = _size(level)
    return f"{level if level > 0 else level + (1 << size) - 1:0{size}b}" if size else ""


def _bytes(bits: str) -> bytes:
    padded = bits + "1" * (-len(bits) % 8)
    return int(padded or "0", 2).to_bytes(len(padded) // 8).replace(b"\xff", b"\xff\x00")
