"""Read the header of a WebP file, and decode its first frame.

libwebp receives only the chunks that pixels depend on: VP8 or VP8L, and ALPH. The first frame of an animation is placed
on a transparent canvas, as libwebp's own animation decoder does; later frames are not decoded. ICC profiles are not
applied: pixels are taken as stored.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import WebPImagePlugin

from gate.averaging import DecodedImage, band_of
from gate.errors import CorruptImage
from gate.formats.exif import with_xmp
from gate.formats.joined_files import check_alone
from gate.formats.vp8l import check_groups
from gate.types import ImageBytes, Pixels

_Chunk = tuple[bytes, int, int]

_FIRST = 12
_ANIMATION, _XMP, _EXIF, _ALPHA = 0x02, 0x04, 0x08, 0x10
_EXTENDED_HEADER = 10
_FRAME_HEADER = 16
_LOSSLESS_ALPHA = 1
"""Compression of an ALPH chunk, in the lowest bits of its first byte."""
_IMAGE_CHUNKS = (b"VP8 ", b"VP8L")

# Far more than the frames of real animations; walking over them takes at most 20 ms.
_MAX_CHUNKS = 20_000


@dataclass(frozen=True, slots=True)
class WebpFields:
    """Canvas size, animation flag and EXIF block of a header."""

    width: int
    height: int
    is_animated: bool = False
    exif: ImageBytes = b""


def is_webp(data: ImageBytes) -> bool:
    """Whether the bytes begin with a WebP signature."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read_webp_header(data: ImageBytes) -> WebpFields:
    """Read size, animation and orientation, as an EXIF block.

    Raises:
        CorruptImage: the first chunk is unknown or too short, or there are too many chunks.
        UnsupportedImage: another image or a form field follows.
        struct.error, IndexError: the header ends early.
    """
    check_alone(data, 8 + struct.unpack_from("<I", data, 4)[0])
    kind = data[12:16]
    if kind == b"VP8X":
        if int.from_bytes(data[16:20], "little") < _EXTENDED_HEADER:
            raise CorruptImage("the webp's VP8X chunk is too short for a size")
        flags, width, height = data[20], _uint24(data, 24) + 1, _uint24(data, 27) + 1
        exif = _body(data, b"EXIF") if flags & _EXIF else b""
        xmp = _body(data, b"XMP ") if flags & _XMP else b""
        return WebpFields(width, height, bool(flags & _ANIMATION), with_xmp(exif, xmp))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return WebpFields((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return WebpFields(width & 0x3FFF, height & 0x3FFF)
    raise CorruptImage(f"the webp begins with an unknown chunk {kind!r}")


def decode_webp(data: ImageBytes) -> DecodedImage:
    """Decode the first frame.

    Returns:
        The canvas as RGB or RGBA, composited over black.

    Raises:
        CorruptImage: a chunk ends early, the frame does not lie on the canvas, or it would take too much memory.
        OSError, SyntaxError, ValueError: libwebp cannot decode the picture.
    """
    if data[12:16] == b"VP8L":
        _check_lossless(data, 20, 20 + struct.unpack_from("<I", data, 16)[0])
    if data[12:16] != b"VP8X":
        return _decode_still(_with_padding(data))
    stop = 8 + struct.unpack_from("<I", data, 4)[0]
    if stop > len(data):
        raise CorruptImage("the webp ends before its announced length: it is incomplete")
    with_alpha = bool(data[20] & _ALPHA)  # libwebp ignores an ALPH chunk that the file does not announce.
    # All chunks: lost or inserted bytes show as a misplaced chunk after them.
    for kind, start, end in list(_chunks(data, _FIRST, stop)):
        if kind == b"ANMF":
            return _on_canvas(data, start, _decode_still(_still(data, start + _FRAME_HEADER, end)))
        if kind in (b"ALPH", *_IMAGE_CHUNKS):
            return _decode_still(_still(data, start - 8, stop, with_alpha=with_alpha))
    raise CorruptImage("the webp has no picture")


class _StillWebP(WebPImagePlugin.WebPImageFile):
    """Pillow's WebP reader, changed to free libwebp's two canvases before it copies the frame.

    This halves the 260 MB that an image of 4096 x 4096 pixels takes. If a release of Pillow changes the overridden
    method, only the saving is lost; the pixels stay the same.
    """

    def _get_next(self) -> tuple[bytes, int, int]:
        frame = super()._get_next()
        del self._decoder
        return frame


def _with_padding(data: ImageBytes) -> ImageBytes:
    """Return a file of one chunk with the byte that makes its length even, if the file's length does not count it.

    A file that counts the byte and ends before it may have lost any other: a lossless picture has no checksum.
    """
    stop, end = (start + struct.unpack_from("<I", data, start - 4)[0] for start in (8, 20))
    return _still(data, _FIRST, end) if end % 2 and stop == end <= len(data) else data


def _decode_still(still: ImageBytes) -> DecodedImage:
    image = _StillWebP(io.BytesIO(still))
    image.load()
    return DecodedImage(image.height, image.width, lambda first, stop: band_of(image, first, stop).view(np.uint8))


def _still(data: ImageBytes, position: int, end: int, *, with_alpha: bool = True) -> bytes:
    """Return a file with only the image that begins at `position` and, of a lossy one, its alpha."""
    alpha: bytes = b""
    for kind, start, stop in _chunks(data, position, end):
        chunk = bytes(data[start - 8 : stop]) + bytes((stop - start) % 2)
        if kind == b"ALPH" and with_alpha and not alpha:
            alpha = chunk
        elif kind in _IMAGE_CHUNKS:
            if kind == b"VP8L":
                _check_lossless(data, start, stop)
            extended = _extended(data, start, alpha) + alpha if alpha and kind == b"VP8 " else b""
            return b"".join([b"RIFF", struct.pack("<I", 4 + len(extended) + len(chunk)), b"WEBP", extended, chunk])
    raise CorruptImage("the webp has a frame without a picture")


def _check_lossless(data: ImageBytes, start: int, stop: int) -> None:
    (bits,) = struct.unpack_from("<I", data, start + 1)
    check_groups(memoryview(data)[start + 5 : stop], (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)


def _extended(data: ImageBytes, start: int, alpha: bytes) -> bytes:
    """Return the VP8X chunk that announces the chunk `alpha` to libwebp, with the size in the VP8 chunk."""
    width, height = (edge & 0x3FFF for edge in struct.unpack_from("<HH", data, start + 6))
    if not width or not height:
        raise CorruptImage("the webp names a size of zero")
    if len(alpha) > 8 and alpha[8] & 3 == _LOSSLESS_ALPHA:
        check_groups(memoryview(alpha)[9:], width, height)
    size: bytes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return struct.pack("<4sIB3x", b"VP8X", _EXTENDED_HEADER, _ALPHA) + size


def _on_canvas(data: ImageBytes, start: int, frame: DecodedImage) -> DecodedImage:
    left, top, width, height = (_uint24(data, start + 3 * index) for index in range(4))
    left, top, width, height = 2 * left, 2 * top, width + 1, height + 1
    canvas_width, canvas_height = _uint24(data, 24) + 1, _uint24(data, 27) + 1
    if (frame.width, frame.height) != (width, height) or left + width > canvas_width or top + height > canvas_height:
        raise CorruptImage("the webp's first frame does not lie on its canvas")

    def rows(first: int, stop: int) -> Pixels:
        band = np.zeros((stop - first, canvas_width, 3), np.uint8)
        begin, end = max(first, top), min(stop, top + height)
        if begin < end:
            band[begin - first : end - first, left : left + width] = frame.rows(begin - top, end - top)[:, :, :3]
        return band

    return (
        frame if (width, height) == (canvas_width, canvas_height) else DecodedImage(canvas_height, canvas_width, rows)
    )


def _body(data: ImageBytes, wanted: bytes) -> ImageBytes:
    for kind, start, end in _chunks(data, _FIRST, len(data), is_whole=False):
        if kind == wanted:
            return data[start:end]
    return b""


def _chunks(data: ImageBytes, position: int, stop: int, *, is_whole: bool = True) -> Iterator[_Chunk]:
    """Yield name, start and end of each chunk's body.

    `is_whole`: raise if a chunk ends early; otherwise stop before it.
    """
    for _ in range(_MAX_CHUNKS):
        if position >= stop or (not is_whole and position + 8 > stop):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length
        if is_whole and end > stop:
            raise CorruptImage("the webp has a chunk that ends early: it is damaged or incomplete")
        yield kind, position + 8, end
        position = end + length % 2
    raise CorruptImage(f"the webp has more than {_MAX_CHUNKS:,} chunks: no encoder writes so many")


def _uint24(data: ImageBytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)
