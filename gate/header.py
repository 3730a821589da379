"""Format, size and orientation of an image, read from its first bytes without decoding a pixel."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from PIL import ExifTags, Image

from gate.chunks import PNG_SIGNATURE, RGB, Data, png_header
from gate.errors import CorruptImage, EmptyImage, UnsupportedImage
from gate.png_metadata import read_exif

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_EXIF_PREFIX = b"Exif\x00\x00"

# Start-of-frame markers hold the size; C4, C8 and CC share the range but are tables and extensions.
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END_OF_IMAGE = 0xD9
_JPEG_APP1 = 0xE1
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\x01\xd0-\xd8])")

_WEBP_ANIMATION = 0x02
_WEBP_EXIF = 0x08

# Far above what encoders write, and far below what would keep a core busy: every scan of a progressive JPEG is a walk
# over all of its coefficients, and 16 bytes are enough for one.
_JPEG_MOST_SCANS = 100
_MOST_SEGMENTS = 1_000
_MOST_PADDING = 64


IMAGE_ENDINGS = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".webp")
"""What the names of images end in, in lower case, where a name has to do: of one image the content decides."""


class Format(StrEnum):
    """The image formats that are read."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class Header:
    """Size as stored, before `orientation` (EXIF, 1 to 8) is applied.

    `is_exotic`: a CMYK JPEG or an animated WebP, of which the first frame counts; the fast decoders read neither. Or a
    PNG of 16-bit RGB, which may have to be decoded twice.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    is_exotic: bool = False


def read_header(data: Data) -> Header:
    """Read the header of a PNG, JPEG or WebP file; the bytes decide, not a file name or Content-Type.

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: the bytes are none of the three formats.
        CorruptImage: the header ends early, names a size of zero, or is padded or split up as no encoder would.
    """
    if not data:
        raise EmptyImage("the image is empty: send the bytes of a PNG, JPEG or WebP file")
    image_format = _sniff(data)
    try:
        width, height, is_exotic, exif = _READERS[image_format](data)
    except (struct.error, IndexError) as error:
        raise CorruptImage(f"the {image_format} header ends too early") from error
    if width < 1 or height < 1:
        raise CorruptImage(f"the {image_format} header names a size of {width} x {height}")
    return Header(image_format, width, height, _orientation(exif), is_exotic)


def _sniff(data: Data) -> Format:
    if data.startswith(PNG_SIGNATURE):
        return Format.PNG
    if data.startswith(_JPEG_SIGNATURE):
        return Format.JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    raise UnsupportedImage("the bytes are no PNG, JPEG or WebP file")


_Fields = tuple[int, int, bool, Data]


def _read_png(data: Data) -> _Fields:
    width, height, depth, colour = png_header(data)
    return width, height, (depth, colour) == (16, RGB), read_exif(data)


def _read_jpeg(data: Data) -> _Fields:
    if data.count(b"\xff\xda") > _JPEG_MOST_SCANS:
        raise CorruptImage(f"the jpeg has more than {_JPEG_MOST_SCANS} scans: no encoder writes so many")
    frame: tuple[int, int, bool] | None = None
    exif: Data = b""
    for marker, body in _jpeg_segments(data):
        if marker == _JPEG_APP1 and body.startswith(_EXIF_PREFIX):
            exif = exif or body[len(_EXIF_PREFIX) :]
        elif marker in _JPEG_START_OF_FRAME and frame is None:
            height, width, channels = struct.unpack_from(">xHHB", body)
            frame = width, height, channels == 4
    if frame is None:
        raise CorruptImage("the jpeg has no start of frame")
    return *frame, exif


def _jpeg_segments(data: Data) -> Iterator[tuple[int, Data]]:
    """Markers and bodies up to the first scan."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None or found[1][0] in (_JPEG_START_OF_SCAN, _JPEG_END_OF_IMAGE):
            return
        if found.end() - position > _MOST_PADDING:
            break
        (length,) = struct.unpack_from(">H", data, found.end())
        yield found[1][0], data[found.end() + 2 : found.end() + length]
        position = found.end() + length
    raise CorruptImage("the jpeg header is padded or split up as no encoder would")


def _read_webp(data: Data) -> _Fields:
    kind = data[12:16]
    if kind == b"VP8X":
        flags, width, height = data[20], _uint24(data, 24) + 1, _uint24(data, 27) + 1
        return width, height, bool(flags & _WEBP_ANIMATION), _webp_exif(data) if flags & _WEBP_EXIF else b""
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, False, b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, False, b""
    raise CorruptImage(f"the webp begins with an unknown chunk {kind!r}")


def _uint24(data: Data, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)


def _webp_exif(data: Data) -> Data:
    position = 12
    for _ in range(_MOST_SEGMENTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length].removeprefix(_EXIF_PREFIX)
        position += 8 + length + length % 2
    return b""


def _orientation(exif: Data) -> int:
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
