"""The kinds of images that a caller may pass, and their conversion to files or pixels."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from lensgate_client._pixels.frameworks import dtype_name
from lensgate_client._pixels.image_files import check_bytes, read_file
from lensgate_client._pixels.pillow_images import is_pillow_image, read_pillow_image
from lensgate_client._pixels.raster import Raster, count_images, is_tensor, open_raster
from lensgate_client.errors import BadImage, quoted, truncated
from lensgate_client.models import Label

_LABELS: tuple[Label, ...] = get_args(Label)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]{1,128}")
"""The gate's rule for ids and sources."""


class TensorLike(Protocol):
    """An array or tensor of NumPy, CuPy, JAX, PyTorch, TensorFlow or the array API standard, uint8 RGB.

    `[H, H, 3]` and `[3, H, H]` are one image; `[N, H, H, 3]` and `[N, 3, H, H]` are a batch of N images.
    """

    @property
    def shape(self) -> Any:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        ...


class PillowImage(Protocol):
    """An image of Pillow."""

    @property
    def mode(self) -> str:
        """Pixel format."""
        ...

    def convert(self, mode: str) -> Any:
        """Return the image in another mode."""
        ...


ImageLike = bytes | bytearray | memoryview | str | os.PathLike[str] | TensorLike | PillowImage
"""A PNG, JPEG or WebP file as bytes or by its path, pixels, or a Pillow image."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """An image with its own expected label, id and source; accepted in place of any image.

    Args:
        image: the image, or a batch.
        expected: the label that the generator was asked for.
        id: id in the gate's record, 1 to 128 characters; generated if None. An image with its own id is sent alone.
        source: the generator, checkpoint or run that made the image; the gate object's source if None.
    """

    image: ImageLike
    expected: Label | None = None
    id: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "expected", checked_label(self.expected))
        object.__setattr__(self, "id", _checked_name(self.id, "an id"))
        object.__setattr__(self, "source", checked_source(self.source))
        if self.id is not None and count_images(self.image) != 1:
            raise ValueError("an id identifies one image; a batch cannot have one")


ImageInput = ImageLike | Ask


def checked_label(expected: object) -> Label | None:
    """Return the label as a plain `str`, or None; an instance of a subclass is replaced.

    Raises:
        ValueError: `expected` is neither a label nor None.
    """
    if expected is None:
        return None
    if isinstance(expected, str):
        for label in _LABELS:
            if str.__eq__(expected, label):
                matched: Label = label
                return matched
    is_collection = isinstance(expected, Iterable) and not isinstance(expected, str | bytes)
    hint = ": pass Ask(image, expected) to set the label of each image" if is_collection else ""
    raise ValueError(f"expected must be one of {', '.join(_LABELS)}, or None, not {quoted(expected)}{hint}")


def checked_source(source: object) -> str | None:
    """Return the source as a plain `str`, or None.

    Raises:
        ValueError: `source` is neither a valid source nor None.
    """
    return _checked_name(source, "a source")


def _checked_name(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value.isspace():
        raise ValueError(
            f"{what} must be a str of 1 to 128 characters, not all blank, without control characters, not "
            f"{quoted(value)}"
        )
    return str.__str__(value)


def is_single_image(value: object) -> bool:
    """Return whether `value` is one image, other than a tensor."""
    return isinstance(value, bytes | bytearray | memoryview | str | os.PathLike | Ask) or is_pillow_image(value)


def open_image(image: ImageLike) -> bytes | Raster:
    """Return the bytes of a file, or pixels. Files are read; the pixels of a tensor stay on their device.

    Raises:
        BadImage: `image` is not an image.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return check_bytes(bytes(image))
    if isinstance(image, str | os.PathLike):
        return read_file(image)
    if is_tensor(image):
        return open_raster(image)
    if is_pillow_image(image):
        return open_raster(read_pillow_image(image))
    kind = truncated(type(image).__name__, 80)
    hint = _hint(image)
    raise BadImage(f"an image must be the bytes of a file, a path, a tensor or a Pillow image, not a {kind}{hint}")


def _hint(value: object) -> str:
    if hasattr(value, "read"):
        return ". Pass the bytes of a file object: open(path, 'rb').read()"
    if hasattr(value, "read_bytes"):  # A path inside an archive or in a store.
        return ". Pass the bytes of its file: path.read_bytes()"
    if hasattr(value, "dtype"):
        dtype = truncated(dtype_name(value), 80)
        return f" of {dtype}. Pass its elements, or the bytes of an encoded file: tensor.numpy()"
    if isinstance(value, Awaitable):
        return ". Await it, or use AsyncGateFilter, which awaits what its source returns"
    if isinstance(value, Iterator | AsyncIterator):
        return ". Pass it in place of the function that returns it: generate() instead of generate"
    return ""
