"""What was judged, as it came: its hash, and the small picture that is kept of it."""

import hashlib
import io
from collections.abc import Iterable

import numpy as np
import simplejpeg
from PIL import Image

from gate import Budget, area_average, read_pixels
from gate.formats.jpeg.decoder import strip_metadata
from gate.header import ImageFormat, read_header
from gate.pixels import Pixels, orient

PREVIEW_SIZE = 256
"""Longest edge of what is kept of an image, in pixels."""

_QUALITY = 85

Source = bytes | bytearray | memoryview | Pixels
"""An image file, or pixels, uint8 `[H, H, 3]`. What is a view keeps all of what it is a view of."""


def size_of(source: Source) -> int:
    """Bytes."""
    return source.nbytes if isinstance(source, np.ndarray | memoryview) else len(source)


def detach(source: Source) -> Source:
    """The same in memory of its own, which may outlive the request that it came with."""
    if isinstance(source, np.ndarray):
        return source.copy()
    return bytes(source) if isinstance(source, memoryview) else source


def bytes_to_detach(sources: Iterable[Source]) -> int:
    """What `detach` copies of them."""
    return sum(size_of(source) for source in sources if not isinstance(source, bytes | bytearray))


def digest(source: Source) -> str:
    """SHA-256 in hexadecimal, of the file or of the pixels in C order."""
    return hashlib.sha256(np.ascontiguousarray(source).data if isinstance(source, np.ndarray) else source).hexdigest()


def preview(source: Source, *, max_pixels: int, budget: Budget | None = None) -> bytes:
    """A JPEG, 256 x 256 or what there is of a smaller image.

    Raises:
        ImageError: the file cannot be decoded; then it could not be judged either.
    """
    if isinstance(source, np.ndarray):
        small = area_average(source, min(PREVIEW_SIZE, len(source)))
    else:
        small = _shrink(bytes(source), max_pixels, budget)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=_QUALITY))


def _shrink(data: bytes, max_pixels: int, budget: Budget | None) -> Pixels:
    header = read_header(data)
    if header.format is ImageFormat.JPEG:
        return _shrink_jpeg(data, header.orientation)
    return read_pixels(data, min(PREVIEW_SIZE, header.width), max_pixels=max_pixels, budget=budget)


def _shrink_jpeg(data: bytes, orientation: int) -> Pixels:
    """Near enough for the eye, and three times as fast as what the model is shown: most of it is left to the DCT."""
    with Image.open(io.BytesIO(strip_metadata(data)), formats=["JPEG"]) as image:
        image.draft("RGB", (PREVIEW_SIZE, PREVIEW_SIZE))
        small = image.convert("RGB")
    small.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BOX)
    return orient(np.asarray(small), orientation)
