"""What a caller may hand over as an image, and what the client makes of it."""

import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from lensgate_client.decision import Label
from lensgate_client.errors import BadImage
from lensgate_client.raster import Raster, count_of, is_tensor, open_raster
from lensgate_client.shrink import Pixels

_EXIF_ORIENTATION = 0x0112
_LABELS = get_args(Label)
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
        check_label(self.expected)
        if self.id is None:
            return
        if not _NAME.fullmatch(self.id):
            raise ValueError(f"an id has 1 to 128 characters, none of them for control, not {self.id[:200]!r}")
        if count_of(self.image) != 1:
            raise ValueError("an id is for one image, and this is a batch")


def check_label(expected: object) -> None:
    """Raise ValueError for what is no label, and not None."""
    if expected is not None and expected not in _LABELS:
        raise ValueError(f"expected is one of {', '.join(_LABELS)}, or None, not {expected!r}")


def open_image(image: ImageLike) -> bytes | Raster:
    """The bytes of a file, or pixels. A file is read; the pixels of a tensor stay where they are.

    Raises:
        BadImage: it is nothing that could be judged.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return _read_file(image)
    if is_tensor(image):
        return open_raster(image)
    if is_picture(image):
        return open_raster(_read_picture(image))
    raise BadImage(f"an image is the bytes of a file, a path, a tensor or a Pillow image, not a {type(image).__name__}")


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # A path with a null character is a ValueError.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadImage(f"{os.fspath(path)!r} cannot be read: {reason}", code="unreadable_file") from error


def is_picture(image: object) -> bool:
    """Whether it is Pillow's."""
    # Who has a Pillow image has imported Pillow.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def _read_picture(image: Any) -> Pixels:
    """RGB as the gate makes it of the same picture's file: turned as EXIF says, alpha over black."""
    if image.mode.startswith(("I", "F")):
        raise BadImage(f"the Pillow image has the mode {image.mode}: convert it to RGB first")
    try:
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # It was only opened, and what is read now is damaged.
        raise BadImage(f"the Pillow image cannot be decoded: {error}", code="corrupt_image") from error
    return _over_black(pixels) if pixels.shape[2] == 4 else pixels


def _over_black(pixels: Pixels) -> Pixels:
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    flat: Pixels = ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return flat
