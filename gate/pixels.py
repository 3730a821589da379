"""Image bytes -> the model's pixels: one function for training records, the export check and the service."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import numpy as np

from gate.averaging import DecodedImage, area_average, area_average_rows
from gate.decode_budget import Budget, decoding_cost
from gate.errors import CorruptImage, ImageError, ImageTooLarge, ImageTooSmall, NotSquare
from gate.formats.jpeg.decoder import decode_jpeg
from gate.formats.png.chunks import parse_png
from gate.formats.png.fast_decoder import shrink_png
from gate.formats.png.pillow_decoder import decode_png
from gate.formats.webp import decode_webp
from gate.header import ImageFormat, ImageHeader, read_header
from gate.types import ImageBytes, Pixels

__all__ = ["DECODING", "MAX_PIXELS", "Pixels", "area_average", "check_edges", "orient", "read_pixels", "read_pixels_at"]

DECODING = "5"
"""Version of the pixels. Raise it with each change that gives some file other pixels, or pixels in place of an error:
scores and records that are stored under another version are computed again."""

MAX_PIXELS = 4096 * 4096
"""Default limit on the number of pixels that a header may announce: 48 MB of RGB."""

_Made = TypeVar("_Made")


def read_pixels(data: ImageBytes, size: int, *, max_pixels: int = MAX_PIXELS, budget: Budget | None = None) -> Pixels:
    """Decode a square PNG, JPEG or WebP image and shrink it to the model's input by area averaging.

    Alpha is composited over black, grey becomes RGB, 16 bits become 8, EXIF orientation is applied. The limits are
    checked on the header, before a pixel is decoded.

    Args:
        data: the file's bytes; do not write to a bytearray during the call.
        size: edge of the model's input, in pixels.
        max_pixels: the largest number of pixels (width x height) to decode.
        budget: delays the decode until there is memory; without one it starts at once.

    Returns:
        uint8 `[size, size, 3]`, RGB.

    Raises:
        ImageError: one of its subclasses, whose text names the fault of the image.
    """
    (pixels,) = read_pixels_at(data, (size,), max_pixels=max_pixels, budget=budget)
    return pixels


def read_pixels_at(
    data: ImageBytes, sizes: Sequence[int], *, max_pixels: int = MAX_PIXELS, budget: Budget | None = None
) -> list[Pixels]:
    """`read_pixels` for the input sizes of several models: the same pixels, with as few decodes as possible.

    Returns:
        uint8 `[size, size, 3]` for each of `sizes`, in order.

    Raises:
        ImageError: as `read_pixels`; the image must be large enough for the largest size.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(f"the image is {header.width} x {header.height}: at most {max_pixels:,} pixels are decoded")
    check_edges(header.width, header.height, max(sizes))
    with nullcontext() if budget is None else budget.hold(decoding_cost(header, len(data))):
        shrunk = _shrink_png(data, header, sizes) if header.format is ImageFormat.PNG else _shrink(data, header, sizes)
    return [_upright(pixels, header.orientation) for pixels in shrunk]


def _shrink_png(data: ImageBytes, header: ImageHeader, sizes: Sequence[int]) -> list[Pixels]:
    """Return uint8 `[size, size, 1 or 3]` for each of `sizes`, before orientation."""
    png = parse_png(data)
    shrunk = _decode(partial(shrink_png, png, sizes), header)
    if shrunk is not None:
        return shrunk
    image = _decode(partial(decode_png, png), header)
    return [area_average_rows(image, size) for size in sizes]


def _shrink(data: ImageBytes, header: ImageHeader, sizes: Sequence[int]) -> list[Pixels]:
    """Like `_shrink_png`, for the other formats."""
    decoded: dict[int, DecodedImage] = {}
    shrunk = []
    for size in sizes:
        edge = _decoded_edge(header, size)
        if edge not in decoded:
            decoded[edge] = _decode(partial(_decode_other, data, header, edge), header)
        shrunk.append(area_average_rows(decoded[edge], size))
    return shrunk


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return the model's input: `[size, size, 3]`, EXIF orientation applied, contiguous."""
    upright = np.empty((*pixels.shape[:2], 3), np.uint8)
    levels = pixels[:, :, :3] if pixels.shape[2] > 2 else pixels[:, :, :1]
    upright[:] = orient(levels, orientation)  # Broadcasts grey.
    return upright


def check_edges(width: int, height: int, size: int) -> None:
    """Raise NotSquare or ImageTooSmall unless an image is square and at least the model's input size."""
    if width != height:
        raise NotSquare(f"the image is {width} x {height}: crop it to a square portrait")
    if width < size:
        raise ImageTooSmall(f"the image is {width} x {height}: the model needs at least {size} x {size}")


def _decoded_edge(header: ImageHeader, size: int) -> int:
    """Return the edge at which to decode: the stored edge or, for a JPEG, an eighth of it."""
    # Only if output pixels begin and end at block edges: otherwise a block's mean would leak into a neighbour.
    # Scales other than 1/8 do not give area means: subsampled colour is smoothed when it is enlarged.
    shrinks = header.format is ImageFormat.JPEG and not header.needs_conversion and header.width % (8 * size) == 0
    return header.width // 8 if shrinks else header.width


def _decode(decoder: Callable[[], _Made], header: ImageHeader) -> _Made:
    try:
        return decoder()
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # Decoders raise many types on damaged bytes; the caller needs one.
        raise CorruptImage(f"the {header.format} image cannot be decoded: it is damaged or incomplete") from error


def _decode_other(data: ImageBytes, header: ImageHeader, edge: int) -> DecodedImage:
    image = decode_jpeg(data, edge) if header.format is ImageFormat.JPEG else decode_webp(data)
    _expect((image.height, image.width), edge)
    return image


def _expect(size: tuple[int, ...], edge: int) -> None:
    """Check that the decoded size is the size that was checked in the header."""
    if size != (edge, edge):
        raise ValueError("the decoded size differs from the header's")


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation, 1 to 8, to a square `[S, S, 3]`; on the shrunken image the cost is negligible."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
