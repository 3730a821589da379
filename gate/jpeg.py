"""Decode JPEG files strictly: damage is an error, where libjpeg alone would fill it with grey and go on.

libjpeg-turbo's TurboJPEG interface (simplejpeg) turns libjpeg's warnings into errors, and decodes nearly every file.
It also warns of things that change no pixel: a broken ICC profile, bytes between segments, zeros before a restart
marker. So it is handed only the segments that pixels depend on, and where it still refuses, a second time without that
padding. Files whose sampling factors it has no name for go to `gate.jpeg_sampling`.

Colour: pixels are taken as stored. ICC profiles are dropped and not applied. JFIF and Adobe markers decide between RGB,
YCbCr, CMYK and YCCK as in libjpeg. CMYK samples are read as inverted, as Adobe writes them, and become RGB by
`(255 - c) * (255 - k) / 255`, as Pillow does.
"""

from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from gate.chunks import Data
from gate.jpeg_header import Frame, coded_intervals, read_jpeg_head, read_scans
from gate.jpeg_sampling import decode_unnamed_sampling, rgb_of

Pixels = NDArray[np.uint8]

_NAMED_SAMPLINGS = frozenset({(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)})


def decode_jpeg(data: Data, edge: int) -> Pixels:
    """Decode a square JPEG.

    The DCT does most of the shrinking where `edge` is less than the picture's: at 1/8 only the mean of each block of
    8 x 8 is computed.

    Returns:
        uint8 `[edge, edge, 3]`, RGB.

    Raises:
        ImageError: the file cannot be decoded.
        ValueError, OSError: it is damaged.
    """
    head = read_jpeg_head(data)
    picture = head.picture(data)
    if not _is_named(head.frame, picture):
        return decode_unnamed_sampling(picture, edge)
    try:
        return _decode(picture, head.frame, edge)
    except ValueError:
        for unpadded in _without_padding(picture):
            try:
                return _decode(unpadded, head.frame, edge)
            except ValueError:
                continue
        raise


def picture_of(data: Data) -> Data:
    """Return a JPEG file without its metadata: no decoder has to look at EXIF or ICC."""
    return read_jpeg_head(data).picture(data)


def _is_named(frame: Frame, picture: Data) -> bool:
    first, *others = (factors for _, *factors in frame.components)
    if not others:
        return True
    luma = tuple(first)
    if luma in _NAMED_SAMPLINGS and others in ([[1, 1]] * 2, [[1, 1], [1, 1], first]):
        return True
    try:
        simplejpeg.decode_jpeg_header(picture, strict=False)
    except ValueError as error:
        return "subsampling" not in str(error)
    return True


def _decode(picture: Data, frame: Frame, edge: int) -> Pixels:
    is_cmyk = len(frame.components) == 4
    pixels: Pixels = simplejpeg.decode_jpeg(picture, "CMYK" if is_cmyk else "RGB", min_height=edge, min_width=edge)
    return _rgb_of_cmyk(pixels) if is_cmyk else pixels


def _rgb_of_cmyk(inverted: Pixels) -> Pixels:
    height, width, _ = inverted.shape
    np.invert(inverted, out=inverted)
    return rgb_of(Image.frombuffer("CMYK", (width, height), inverted, "raw", "CMYK", 0, 1))


def _without_padding(picture: Data) -> Iterator[bytes]:
    """The picture without zeros before its restart markers and its end: first without any, then with one left.

    Webcams and scanners pad with zeros. Coded data rarely ends with one, and then with one only.
    """
    head = read_jpeg_head(picture)
    scans = read_scans(picture, head)
    if len(scans) > 1:
        return
    intervals = list(coded_intervals(picture, scans[0], head.frame))
    for kept in (b"", b"\x00"):
        parts = [bytes(picture[: scans[0].start])]
        for index, (start, end) in enumerate(intervals):
            follows = intervals[index + 1][0] if index + 1 < len(intervals) else len(picture)
            parts += [_trim(bytes(picture[start:end]), kept), picture[end:follows]]
        yield b"".join(parts)


def _trim(coded: bytes, kept: bytes) -> bytes:
    trimmed = coded.rstrip(b"\x00")
    if len(trimmed) == len(coded):
        return coded
    # The zero after FF belongs to it: together they are one byte of coded data.
    return trimmed + (b"\x00" if trimmed.endswith(b"\xff") else kept)
