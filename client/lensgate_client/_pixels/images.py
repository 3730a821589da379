"""What a caller may hand over as an image, and what the client makes of it."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from lensgate_client._pixels.image_files import check_bytes, read_file
from lensgate_client._pixels.pillow_images import is_picture, read_picture
from lensgate_client._pixels.raster import Raster, count_of, is_tensor, open_raster
from lensgate_client._protocol.texts import cut, shown
from lensgate_client.errors import BadImage
from lensgate_client.models import Label

_LABELS: tuple[Label, ...] = get_args(Label)
_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")


class Tensor(Protocol):
    """An array or tensor of NumPy, CuPy, JAX, PyTorch, TensorFlow or the array API standard, uint8 RGB.

    `[H, H, 3]` and `[3, H, H]` are an image, `[N, H, H, 3]` and `[N, 3, H, H]` a batch, which stands for N images.
    """

    @property
    def shape(self) -> Any:
        """Its edges."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of its elements."""
        ...


class Picture(Protocol):
    """An image of Pillow."""

    @property
    def mode(self) -> str:
        """How its colours are kept."""
        ...

    def convert(self, mode: str) -> Any:
        """The same in another mode."""
        ...


ImageLike = bytes | bytearray | memoryview | str | os.PathLike[str] | Tensor | Picture
"""A PNG, JPEG or WebP file as bytes or by its path, pixels, or a Pillow image."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """An image with what is said of it; stands wherever an image may.

    Args:
        image: the image, or a batch.
        expected: what the generator was asked for.
        id: under which the gate records it, of 1 to 128 characters; made up if missing. Such an image travels alone.
    """

    image: ImageLike
    expected: Label | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "expected", checked_label(self.expected))
        object.__setattr__(self, "id", _checked_name(self.id))
        if self.id is not None and count_of(self.image) != 1:
            raise ValueError("an id is for one image, and this is a batch")


def checked_label(expected: object) -> Label | None:
    """The label as a plain string, or None; a subclass may say anything of itself where it is written.

    Raises:
        ValueError: it is neither.
    """
    if expected is None:
        return None
    if isinstance(expected, str):
        for label in _LABELS:
            if str.__eq__(expected, label):
                found: Label = label
                return found
    hint = ": what is expected of each image goes into Ask(image, expected)" if _is_many(expected) else ""
    raise ValueError(f"expected is one of {', '.join(_LABELS)}, or None, not {shown(expected)}{hint}")


def _is_many(value: object) -> bool:
    return (isinstance(value, Sequence | Iterator | Mapping) and not isinstance(value, str)) or is_tensor(value)


def _checked_name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"an id has 1 to 128 characters, none of them for control, and is a str, not {shown(name)}")
    return str.__str__(name)


def open_image(image: ImageLike) -> bytes | Raster:
    """The bytes of a file, or pixels. A file is read; the pixels of a tensor stay where they are.

    Raises:
        BadImage: it is nothing that could be judged.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return check_bytes(bytes(image))
    if isinstance(image, str | os.PathLike):
        return read_file(image)
    if is_tensor(image):
        return open_raster(image)
    if is_picture(image):
        return open_raster(read_picture(image))
    kind = cut(type(image).__name__, 80)
    hint = ". Of a file object pass the bytes: open(path, 'rb').read()" if hasattr(image, "read") else ""
    raise BadImage(f"an image is the bytes of a file, a path, a tensor or a Pillow image, not a {kind}{hint}")
