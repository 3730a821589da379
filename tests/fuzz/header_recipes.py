"""Headers of each format with a known answer: the header, or None if it must be refused."""

import struct
from collections.abc import Callable

from gate.header import ImageFormat, ImageHeader
from tests.fuzz.recipes import Draws
from tests.support.images import PNG_SIGNATURE, png_chunk

Known = tuple[bytes, ImageHeader | None]


def build(draw: Draws) -> Known:
    """Build a file of one of the formats, and return its header."""
    make: Callable[[Draws], Known] = draw.pick((_png, _jpeg, _webp))
    return make(draw)


def _png(draw: Draws) -> Known:
    flaw = draw.flaw(("checksum", "zero", "short", "length", "exif checksum", "HDR"))
    width, height = draw.size(), draw.size()
    depth, colour = draw.pick(((8, 2), (8, 6), (16, 2), (8, 0), (16, 6)))
    exif, orientation = _exif(draw)
    first = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0 if flaw == "zero" else width, height, depth, colour, 0, 0, 0))
    first = _damaged(first) if flaw == "checksum" else first
    first = b"\0\0\0\x0e" + first[4:] if flaw == "length" else first
    orienting = png_chunk(b"eXIf", exif)
    if flaw == "exif checksum":
        orienting, orientation = _damaged(orienting), None
    xmp, orientation = _with_xmp(draw, orientation)
    text = png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp) if xmp else b""
    extra = png_chunk(b"cICP", bytes([9, draw.pick((16, 18)), 0, 1])) if flaw == "HDR" else b""
    rest = [orienting, png_chunk(b"IDAT", b"x"), extra, text]
    data = PNG_SIGNATURE + first + b"".join(rest if draw.byte() % 2 else reversed(rest)) + png_chunk(b"IEND", b"")
    data = data[: 8 + draw.byte() % 20] if flaw == "short" else data
    known = ImageHeader(ImageFormat.PNG, width, height, orientation, (depth, colour) == (16, 2))
    return data, None if flaw in ("checksum", "zero", "short", "length", "HDR") else known


def _damaged(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def _with_xmp(draw: Draws, orientation: int | None) -> tuple[bytes, int]:
    """Return XMP metadata, or none, and the orientation of both: EXIF takes precedence."""
    value = draw.byte() % 10
    if draw.byte() % 2:
        return b"", orientation or 1
    return b'<x tiff:Orientation="%d"/>' % value, orientation or (value if 1 <= value <= 8 else 1)


def _exif(draw: Draws) -> tuple[bytes, int | None]:
    """Return an EXIF block and the orientation that it gives, if any; an unknown one is 1."""
    order, mark = draw.pick(((">", b"MM"), ("<", b"II")))
    value, kind = draw.byte() % 10, draw.pick((3, 4, 7))
    others = draw.byte() % 3
    entries = [struct.pack(f"{order}HHII", 0x0100 + index, 4, 1, 5) for index in range(others)]
    packed = struct.pack(f"{order}{'I' if kind == 4 else 'H'}", value).ljust(4, b"\0")
    entries.append(struct.pack(f"{order}HHI", 0x0112, kind, 1) + packed)
    block = mark + struct.pack(f"{order}HIH", 42, 8, len(entries)) + b"".join(entries) + bytes(4)
    return block, None if kind == 7 else value if 1 <= value <= 8 else 1


def _jpeg(draw: Draws) -> Known:
    flaw = draw.flaw(("zero", "precision", "factor", "no scan", "length", "kind"))
    # A larger one could have more blocks than are decoded.
    width, height = 1 + draw.size() % 4_096, 1 + draw.size() % 4_096
    exif, orientation = _exif(draw)
    xmp, orientation = _with_xmp(draw, orientation)
    marker = 0xC5 if flaw == "kind" else draw.pick((0xC0, 0xC1, 0xC2, 0xC3))
    count, across, down = draw.pick((1, 3, 4)), draw.pick((1, 2)), draw.pick((1, 2))
    factor = 0 if flaw == "factor" else across << 4 | down
    frame = struct.pack(">BHHB", 12 if flaw == "precision" else 8, height, 0 if flaw == "zero" else width, count)
    frame += b"".join(bytes([1 + index, 0x11 if index else factor, 0]) for index in range(count))
    scan = bytes([count, *(byte for index in range(count) for byte in (1 + index, 0)), 0, 63, 0])
    parts = [_segment(0xE1, b"Exif\0\0" + exif), _segment(marker, frame)]
    parts += [_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)] * bool(xmp)
    parts = parts if draw.byte() % 2 else parts[::-1]
    if flaw == "length":
        parts.insert(0, b"\xff\xe2\0\1")
    data = b"\xff\xd8" + b"".join(parts) + (b"" if flaw == "no scan" else _segment(0xDA, scan)) + b"data\xff\xd9"
    needs_conversion = marker == 0xC3 or count == 4 or (count == 3 and across != down)
    return data, None if flaw else ImageHeader(ImageFormat.JPEG, width, height, orientation, needs_conversion)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def _webp(draw: Draws) -> Known:
    flaw = draw.flaw(("kind", "short"))
    kind = draw.pick((b"VP8X", b"VP8L", b"VP8 "))
    width, height = draw.size(), draw.size()
    exif, orientation = _exif(draw)
    xmp, orientation = _with_xmp(draw, orientation)
    is_animated, is_announced = bool(draw.byte() % 2), bool(draw.byte() % 2)
    if kind == b"VP8X":
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        first = _riff(kind, bytes([2 * is_animated | 12 * is_announced, 0, 0, 0]) + size)
    else:
        is_animated = is_announced = False
        lossy = bytes(6) + struct.pack("<HH", width | draw.byte() % 4 << 14, height)
        first = _riff(kind, lossy if kind == b"VP8 " else struct.pack("<BI", 0x2F, width - 1 | (height - 1) << 14))
    first = b"VP8Z" + first[4:] if flaw == "kind" else first
    body = first + _riff(b"ABCD", b"odd") + _riff(b"EXIF", exif) + _riff(b"XMP ", xmp)
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    data = data[: 16 + draw.byte() % 9] if flaw == "short" else data
    known = ImageHeader(ImageFormat.WEBP, width, height, orientation if is_announced else 1, is_animated)
    return data, None if flaw else known


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
