"""Pillow's images as RGB pixels, as the gate makes them of the same picture's file."""

import sys
from typing import Any

import numpy as np

from lensgate_client._pixels.shrink import Pixels
from lensgate_client._protocol.texts import cut, shown
from lensgate_client.errors import BadImage

_EXIF_ORIENTATION = 0x0112

_NO_RANGE = (
    "its numbers have no fixed range, and Pillow's own conversion cuts them at 255: scale them to 0..255 yourself and "
    "pass the uint8 array [H, H, 3], or pass the file itself"
)
_REFUSED = {"F": _NO_RANGE, "I": _NO_RANGE, "La": "convert it to LA first"}


def is_picture(image: object) -> bool:
    """Whether it is Pillow's."""
    # A caller with a Pillow image has imported Pillow.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def read_picture(image: Any) -> Pixels:
    """Pillow's image -> uint8 `[H, W, 3]`: 16 bits cut to 8, alpha over black, turned as EXIF says.

    Raises:
        BadImage: it is damaged, or of a mode whose numbers do not say how bright they are.
    """
    mode = image.mode
    is_deep = mode.startswith("I;16") or (mode == "I" and image.format == "PNG")  # As older releases open 16 bits.
    if mode in _REFUSED and not is_deep:
        raise BadImage(f"the Pillow image has the mode {mode}: {_REFUSED[mode]}")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Plugins raise anything on damaged bytes, and on files that were closed.
        raise BadImage(f"the Pillow image cannot be decoded: {cut(str(error), 200)}", code="corrupt_image") from error
    return _upright(_grey(image) if is_deep else _colours(image), _orientation(image))


def _grey(image: Any) -> Pixels:
    """16 bits of grey: the high byte, as of a file, and black where the one transparent level is."""
    levels = np.asarray(image)
    grey = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[levels == transparent] = 0
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _colours(image: Any) -> Pixels:
    if _is_key_lost(image):
        raise BadImage("the Pillow image has 8 bits and its transparent colour another number: pass the file itself")
    try:
        pixels: Pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except ValueError as error:
        raise BadImage(f"the Pillow image has the mode {shown(image.mode)}: convert it to RGB first") from error
    if pixels.shape[2] == 3:
        return pixels
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    return ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _is_key_lost(image: Any) -> bool:
    """Whether the one transparent colour may be of 16, 4 or 2 bits: Pillow converts the pixels, and not that."""
    key = image.info.get("transparency")
    if isinstance(key, tuple):
        return any(level > 255 for level in key)
    return image.format == "PNG" and image.mode == "L" and isinstance(key, int) and 0 < key < 16


def _orientation(image: Any) -> int:
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Whatever is wrong with the EXIF block, the picture beside it may be sound.
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
