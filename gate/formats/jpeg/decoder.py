"""Decode JPEG files strictly: damage is an error, where libjpeg alone would fill it with grey and continue.

libjpeg-turbo's TurboJPEG interface (simplejpeg) turns libjpeg's warnings into errors, and decodes nearly every file.
It also warns of harmless things: a broken ICC profile, bytes between segments, an unknown version of JFIF, parameters
that a sequential scan does not use, zeros before a restart marker. It therefore receives only the segments that pixels
depend on, with values that it knows, and, if it still fails, the file again without that padding.
Files with sampling factors that it does not support go to `gate.formats.jpeg.sampling`.

Colour: pixels are taken as stored. ICC profiles are not applied. JFIF and Adobe markers decide between RGB, YCbCr, CMYK
and YCCK as in libjpeg. CMYK samples are read as inverted, as Adobe writes them, and become RGB by
`(255 - c) * (255 - k) / 255`, as in Pillow.
"""

from functools import partial

import numpy as np
import simplejpeg
from PIL import Image

from gate.averaging import DecodedImage
from gate.errors import UnsupportedImage
from gate.formats.jpeg.header import Frame, read_jpeg_header, read_scans
from gate.formats.jpeg.padding import without_padding
from gate.formats.jpeg.sampling import decode_unnamed_sampling
from gate.types import ImageBytes, Pixels

_LOSSLESS_COLOURS = {"Gray": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""Stored colours of a lossless JPEG -> colours to ask for: libjpeg neither reads others nor converts these."""

_NAMED_SAMPLINGS = frozenset({(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)})


def decode_jpeg(data: ImageBytes, edge: int) -> DecodedImage:
    """Decode a square JPEG.

    If `edge` is smaller than the stored edge, the DCT shrinks: at 1/8 it computes only the mean of each 8 x 8 block.

    Returns:
        RGB, or grey of a lossless file, of `edge` x `edge`.

    Raises:
        ImageError: the file cannot be decoded.
        ValueError, OSError: the file is damaged.
    """
    head = read_jpeg_header(data)
    jpeg = head.without_metadata(head.with_known_scans(data, read_scans(data, head)))
    if head.frame.is_lossless:
        return _decode_lossless(jpeg, head.frame)
    if not _is_named(head.frame, jpeg):
        return decode_unnamed_sampling(jpeg, edge)
    colours = "CMYK" if len(head.frame.components) == 4 else "RGB"
    try:
        return _decode(jpeg, colours, edge)
    except ValueError:
        unpadded = without_padding(jpeg, partial(_is_sound, colours))
        if unpadded is None:
            raise
    return _decode(unpadded, colours, edge)


def strip_metadata(data: ImageBytes) -> ImageBytes:
    """Return a JPEG file without its metadata, such as EXIF and ICC."""
    return read_jpeg_header(data).without_metadata(data)


def _is_named(frame: Frame, jpeg: ImageBytes) -> bool:
    first, *others = (factors for _, *factors in frame.components)
    if not others:
        return True
    luma = tuple(first)
    if luma in _NAMED_SAMPLINGS and others in ([[1, 1]] * 2, [[1, 1], [1, 1], first]):
        return True
    try:
        simplejpeg.decode_jpeg_header(jpeg, strict=False)
    except ValueError as error:
        return "subsampling" not in str(error)
    return True


def _decode(jpeg: ImageBytes, colours: str, edge: int) -> DecodedImage:
    pixels: Pixels = simplejpeg.decode_jpeg(jpeg, colours, min_height=edge, min_width=edge)
    height, width, _ = pixels.shape
    rows = _rgb_of_cmyk if colours == "CMYK" else _unchanged
    return DecodedImage(height, width, lambda first, stop: rows(pixels[first:stop]))


def _decode_lossless(jpeg: ImageBytes, frame: Frame) -> DecodedImage:
    """Decode a lossless JPEG at its full size.

    Never request a smaller size: libjpeg-turbo before 3.1.4 does not shrink lossless files, and writes the full image
    into the smaller buffer.
    """
    if len({(h, v) for _, h, v in frame.components}) > 1:
        raise UnsupportedImage("the jpeg is lossless with subsampled colours: save it as PNG")
    _, _, stored, _ = simplejpeg.decode_jpeg_header(jpeg, strict=False)
    if stored not in _LOSSLESS_COLOURS:
        raise UnsupportedImage(f"the jpeg is lossless with colours marked as {stored}: save it as PNG")
    return _decode(jpeg, _LOSSLESS_COLOURS[stored], frame.height)


def _unchanged(pixels: Pixels) -> Pixels:
    return pixels


def _rgb_of_cmyk(inverted: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(255 - inverted, "CMYK").convert("RGB"))


def _is_sound(colours: str, jpeg: bytes) -> bool:
    try:
        _decode(jpeg, colours, 1)
    except ValueError:
        return False
    return True
