"""Format, size and orientation of an image, read from its first bytes without decoding a pixel."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from PIL import ExifTags, Image

from gate.errors import CorruptImage, EmptyImage, UnsupportedImage

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_EXIF_PREFIX = b"Exif\x00\x00"

# Start-of-frame markers hold the size; C4, C8 and CC share the range but are tables and extensions.
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_END_OF_HEADER = frozenset({0xD9, 0xDA})
_JPEG_APP1 = 0xE1


class Format(StrEnum):
    """The image formats that are read."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class Header:
    """Size as stored, before `orientation` (EXIF, 1 to 8) is applied."""

    format: Format
    width: int
    height: int
    orientation: int = 1


def read_header(data: bytes) -> Header:
    """Read the header of a PNG, JPEG or WebP file; the bytes decide, not a file name or Content-Type.

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: the bytes are none of the three formats.
        CorruptImage: the header ends early, or names a size of zero.
    """
    if not data:
        raise EmptyImage("the image is empty: send the bytes of a PNG, JPEG or WebP file")
    image_format = _sniff(data)
    try:
        width, height, exif = _READERS[image_format](data)
    except (struct.error, IndexError) as error:
        raise CorruptImage(f"the {image_format} header ends too early") from error
    if width < 1 or height < 1:
        raise CorruptImage(f"the {image_format} header names a size of {width} x {height}")
    return Header(image_format, width, height, _orientation(exif))


def _sniff(data: bytes) -> Format:
    if data.startswith(_PNG_SIGNATURE):
        return Format.PNG
    if data.startswith(_JPEG_SIGNATURE):
        return Format.JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    raise UnsupportedImage("the bytes are no PNG, JPEG or WebP file")


def _read_png(data: bytes) -> tuple[int, int, bytes]:
    width, height = struct.unpack_from(">4xII", data, len(_PNG_SIGNATURE) + 4)
    # A scan for four bytes costs far less than a walk over some hundred IDAT chunks, and EXIF in a PNG is rare.
    exif = b""
    if b"eXIf" in data:
        exif = next((body for kind, body in _png_chunks(data) if kind == b"eXIf"), b"")
    return width, height, exif


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length] if kind == b"eXIf" else b""
        position += length + 12


def _read_jpeg(data: bytes) -> tuple[int, int, bytes]:
    exif = b""
    for marker, body in _jpeg_segments(data):
        if marker == _JPEG_APP1 and body.startswith(_EXIF_PREFIX):
            exif = exif or body[len(_EXIF_PREFIX) :]
        elif marker in _JPEG_START_OF_FRAME:
            height, width = struct.unpack_from(">xHH", body)
            return width, height, exif
    raise CorruptImage("the jpeg has no start of frame")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 2
    while (position := data.find(b"\xff", position)) != -1:
        marker = data[position + 1]
        if marker in _JPEG_END_OF_HEADER:
            return
        if marker in (0x00, 0xFF) or marker in _JPEG_STANDALONE:
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def _read_webp(data: bytes) -> tuple[int, int, bytes]:
    kind = data[12:16]
    if kind == b"VP8X":
        flags, width, height = data[20], _uint24(data, 24) + 1, _uint24(data, 27) + 1
        return width, height, _webp_exif(data) if flags & 0x08 else b""
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, b""
    raise CorruptImage(f"the webp begins with an unknown chunk {kind!r}")


def _uint24(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)


def _webp_exif(data: bytes) -> bytes:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length].removeprefix(_EXIF_PREFIX)
        position += 8 + length + length % 2
    return b""


def _orientation(exif: bytes) -> int:
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(_EXIF_PREFIX + exif)
        orientation = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Whatever is wrong with the EXIF block, the picture beside it may be sound.
        return 1
    return orientation if orientation in range(1, 9) else 1


_READERS = {Format.PNG: _read_png, Format.JPEG: _read_jpeg, Format.WEBP: _read_webp}
