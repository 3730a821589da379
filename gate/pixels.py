"""Image bytes -> the model's pixels: one function for training records, the export check and the service."""

from collections.abc import Callable, Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from gate.chunks import Data
from gate.errors import CorruptImage, ImageError, ImageTooLarge, ImageTooSmall, NotSquare
from gate.header import Format, Header, read_header
from gate.jpeg import decode_jpeg
from gate.png import shrink_png
from gate.webp import decode_webp

MAX_PIXELS = 4096 * 4096
"""Default limit on the pixels a header may announce: 48 MB of RGB."""

Pixels = NDArray[np.uint8]

_BAND = 256


def read_pixels(data: Data, size: int, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a square PNG, JPEG or WebP image and shrink it to the model's input by area averaging.

    Alpha is composited over black, grey becomes RGB, 16 bits become 8, EXIF orientation is applied. The limits are
    checked on the header, before a pixel is decoded.

    Args:
        data: the file's bytes; a bytearray must not be written to meanwhile.
        size: edge of the model's input, in pixels.
        max_pixels: most pixels (width x height) that are decoded.

    Returns:
        uint8 `[size, size, 3]`, RGB.

    Raises:
        ImageError: one of its subclasses, naming what is wrong with the image.
    """
    (pixels,) = read_pixels_at(data, (size,), max_pixels=max_pixels)
    return pixels


def read_pixels_at(data: Data, sizes: Sequence[int], *, max_pixels: int = MAX_PIXELS) -> list[Pixels]:
    """`read_pixels` for several models' inputs at once: the same pixels, decoded as seldom as can be.

    Returns:
        uint8 `[size, size, 3]` for each of `sizes`, in order.

    Raises:
        ImageError: as `read_pixels`, the image being too small for the largest size.
    """
    header = read_header(data)
    _check_size(header, max(sizes), max_pixels)
    shrunk = shrink_png(data, header, sizes) if header.format is Format.PNG else None
    if shrunk is None:
        shrunk = _shrink(data, header, sizes)
    return [_upright(pixels, header.orientation) for pixels in shrunk]


def _shrink(data: Data, header: Header, sizes: Sequence[int]) -> list[Pixels]:
    """uint8 `[size, size, 1 or 3]` for each of `sizes`, as stored."""
    decoded: dict[int, Pixels] = {}
    found = []
    for size in sizes:
        edge = _decoded_edge(header, size)
        if edge not in decoded:
            decoded[edge] = _flatten(_decode(data, header, edge))
        found.append(area_average(decoded[edge], size))
    return found


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """What the model takes: `[size, size, 3]`, turned as EXIF says, in one piece."""
    upright = np.empty((*pixels.shape[:2], 3), np.uint8)
    upright[:] = orient(pixels, orientation)  # Broadcasts grey.
    return upright


def area_average(pixels: Pixels, size: int) -> Pixels:
    """Shrink `pixels`, uint8 `[H, W, C]`, to `[size, size, C]`: each output pixel is the mean of the area it covers.

    Pixels that an output pixel covers in part count by that part; the mean is rounded to the nearest grey level.
    `H` and `W` are at least `size`.
    """
    height, width, channels = pixels.shape
    if height % size or width % size:
        rows = _average_rows(pixels, size)
        columns = _average_rows(rows.swapaxes(0, 1), size).swapaxes(0, 1)
        return np.rint(columns).astype(np.uint8)
    tall, wide = height // size, width // size
    # Rows first: they are contiguous, and 257 of them still fit 16 bits, so that the adds run at full vector width.
    narrow = np.uint16 if tall <= 257 else np.uint32
    bands = np.add.reduce(pixels.reshape(size, tall, width * channels), axis=1, dtype=narrow)
    blocks = bands.reshape(size, size, wide, channels)
    # Column by column: along an axis this short a reduction takes three times as long.
    sums = blocks[:, :, 0].astype(np.uint32)
    for column in range(1, wide):
        sums += blocks[:, :, column]
    area = tall * wide
    means: Pixels = ((sums + area // 2) // area).astype(np.uint8)
    return means


def _average_rows(pixels: NDArray[np.generic], size: int) -> NDArray[np.float32]:
    """Means over axis 0, `[H, W, C]` -> float32 `[size, W, C]`, for any ratio `H / size` >= 1."""
    ratio = pixels.shape[0] / size
    means = np.empty((size, *pixels.shape[1:]), np.float32)
    for index in range(size):
        start, stop = index * ratio, (index + 1) * ratio
        first, last = int(start), min(int(np.ceil(stop)), pixels.shape[0])
        edges = np.arange(first, last, dtype=np.float32)
        weights = np.minimum(edges + 1, stop) - np.maximum(edges, start)
        means[index] = np.tensordot(weights / ratio, pixels[first:last].astype(np.float32), axes=1)
    return means


def _check_size(header: Header, size: int, max_pixels: int) -> None:
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image is {width} x {height}: at most {max_pixels:,} pixels are decoded")
    if width != height:
        raise NotSquare(f"the image is {width} x {height}: crop it to a square portrait")
    if width < size:
        raise ImageTooSmall(f"the image is {width} x {height}: the model needs at least {size} x {size}")


def _decoded_edge(header: Header, size: int) -> int:
    """The edge of what the decoder hands over: of a JPEG, the picture's own or an eighth of it."""
    # Only where output pixels begin and end with blocks: elsewhere a block's mean would leak into its neighbour.
    # Less than 1/8 would be no mean of what the file holds: colour is stored coarser, and smoothed when enlarged.
    shrinks = header.format is Format.JPEG and not header.is_exotic and header.width % (8 * size) == 0
    return header.width // 8 if shrinks else header.width


def _decode(data: Data, header: Header, edge: int) -> NDArray[np.generic]:
    try:
        return _DECODERS[header.format](data, header, edge)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Decoders raise anything on damaged bytes; to a caller it all means the same.
        raise CorruptImage(f"the {header.format} image cannot be decoded: it is damaged or incomplete") from error


def _decode_png(data: Data, header: Header, _edge: int) -> NDArray[np.generic]:
    return _expect(imagecodecs.png_decode(data), header.width)


def _decode_jpeg(data: Data, _header: Header, edge: int) -> NDArray[np.generic]:
    return _expect(decode_jpeg(data, edge), edge)


def _decode_webp(data: Data, header: Header, _edge: int) -> NDArray[np.generic]:
    return _expect(decode_webp(data), header.width)


def _expect(pixels: NDArray[np.generic], edge: int) -> NDArray[np.generic]:
    """What was checked on the header must be what was decoded, or the check was worth nothing."""
    if pixels.shape[:2] != (edge, edge):
        raise ValueError("the picture's size is not the header's")
    return pixels


def _flatten(pixels: NDArray[np.generic]) -> Pixels:
    """Any decoder's output, `[H, W]` or `[H, W, 1..4]`, 8 or 16 bits -> uint8 `[H, W, 1 or 3]` without alpha."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    levels = pixels.view(np.uint8) if pixels.dtype == np.uint8 else _high_byte(pixels)
    return _over_black(levels) if levels.shape[2] in (2, 4) else levels


def _high_byte(pixels: NDArray[np.generic]) -> Pixels:
    return (pixels.astype(np.uint16, copy=False) >> 8).astype(np.uint8)


def _over_black(pixels: Pixels) -> Pixels:
    """Composite by bands of rows: whole, the products would take four times the memory of the colours."""
    height, width, channels = pixels.shape
    flat = np.empty((height, width, channels - 1), np.uint8)
    for top in range(0, height, _BAND):
        band = pixels[top : top + _BAND]
        colour, alpha = band[:, :, :-1], band[:, :, -1:]
        opaque = alpha.min() == 255
        flat[top : top + _BAND] = colour if opaque else (colour.astype(np.uint16) * alpha + 127) // 255
    return flat


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation, 1 to 8; on the shrunken image it costs nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


_Decoder = Callable[[Data, Header, int], NDArray[np.generic]]
_DECODERS: dict[Format, _Decoder] = {Format.PNG: _decode_png, Format.JPEG: _decode_jpeg, Format.WEBP: _decode_webp}
