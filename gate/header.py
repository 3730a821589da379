"""Format, size and orientation of an image, read from its first bytes without decoding a pixel."""

import struct
from dataclasses import dataclass
from enum import StrEnum

from gate.errors import CorruptImage, EmptyImage, UnsupportedImage
from gate.formats.exif import read_orientation
from gate.formats.foreign import describe_foreign
from gate.formats.jpeg.header import JPEG_SIGNATURE, read_jpeg_header
from gate.formats.png.chunks import PNG_SIGNATURE, RGB, read_png_header
from gate.formats.png.metadata import read_exif
from gate.formats.webp import is_webp, read_webp_header
from gate.types import ImageBytes

IMAGE_ENDINGS = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".webp")
"""File name suffixes of images, in lower case, for listings by name; the format of an image is decided by its bytes."""


class ImageFormat(StrEnum):
    """The supported image formats."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format and stored size, before `orientation` (EXIF, 1 to 8) is applied.

    `needs_conversion`: the pixels are converted after decoding, which takes twice the memory. So it is with a CMYK or
    lossless JPEG, or one with colour subsampled in one direction (4:2:2), none of which can be shrunk in the DCT; an
    animated WebP, whose first frame is used; and a 16-bit RGB PNG, which may have to be decoded twice.
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    needs_conversion: bool = False


def read_header(data: ImageBytes) -> ImageHeader:
    """Read the header of a PNG, JPEG or WebP file; the bytes decide, not a file name or Content-Type.

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: the bytes are in none of the three formats.
        CorruptImage: the header ends early, has a size of zero, or is padded or fragmented beyond any encoder's output.
    """
    if not data:
        raise EmptyImage("the image is empty: send the bytes of a PNG, JPEG or WebP file")
    image_format = _sniff(data)
    try:
        width, height, needs_conversion, exif = _READERS[image_format](data)
    except (struct.error, IndexError) as error:
        raise CorruptImage(f"the {image_format} header ends too early") from error
    if width < 1 or height < 1:
        raise CorruptImage(f"the {image_format} header names a size of {width} x {height}")
    return ImageHeader(image_format, width, height, read_orientation(exif), needs_conversion)


def _sniff(data: ImageBytes) -> ImageFormat:
    if data.startswith(PNG_SIGNATURE):
        return ImageFormat.PNG
    if data.startswith(JPEG_SIGNATURE):
        return ImageFormat.JPEG
    if is_webp(data):
        return ImageFormat.WEBP
    raise UnsupportedImage(describe_foreign(data))


_Fields = tuple[int, int, bool, ImageBytes]


def _read_png(data: ImageBytes) -> _Fields:
    width, height, depth, colour = read_png_header(data)
    return width, height, (depth, colour) == (16, RGB), read_exif(data)


def _read_jpeg(data: ImageBytes) -> _Fields:
    head = read_jpeg_header(data)
    frame = head.frame
    needs_conversion = frame.is_lossless or len(frame.components) == 4 or not frame.shrinks_evenly
    return frame.width, frame.height, needs_conversion, head.exif


def _read_webp(data: ImageBytes) -> _Fields:
    fields = read_webp_header(data)
    return fields.width, fields.height, fields.is_animated, fields.exif


_READERS = {ImageFormat.PNG: _read_png, ImageFormat.JPEG: _read_jpeg, ImageFormat.WEBP: _read_webp}
