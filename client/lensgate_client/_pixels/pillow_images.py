"""Convert Pillow images to RGB pixels, with the same result as the gate has for their files."""

import sys
from typing import Any

import numpy as np

from lensgate_client._pixels.shrink import Pixels
from lensgate_client.errors import BadImage, quoted, truncated

_EXIF_ORIENTATION = 0x0112

_NO_RANGE = (
    "its values have no fixed range, and Pillow's conversion clips them at 255: scale them to 0..255 and pass the "
    "uint8 array [H, H, 3], or pass the file"
)
_MODES_WITHOUT_RANGE = ("F", "I")
_PREMULTIPLIED_MODES = ("La", "RGBa")


def is_pillow_image(image: object) -> bool:
    """Return whether `image` is a Pillow image."""
    # A caller with a Pillow image has imported Pillow already.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def read_pillow_image(image: Any) -> Pixels:
    """Convert a Pillow image to uint8 `[H, W, 3]`: 16 bits reduced to 8, alpha over black, EXIF orientation applied.

    Raises:
        BadImage: the image is damaged, or its mode has no defined range of brightness.
    """
    mode = image.mode
    is_deep = mode.startswith("I;16") or (
        mode == "I" and image.format == "PNG"
    )  # Mode of 16-bit files in older releases.
    if mode in _MODES_WITHOUT_RANGE and not is_deep:
        raise BadImage(f"the Pillow image has mode {mode}: {_NO_RANGE}")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Plugins raise arbitrary errors on damaged bytes and closed files.
        raise BadImage(
            f"the Pillow image cannot be decoded: {truncated(str(error), 200)}. Pass its file: the gate reads some "
            "that Pillow does not",
            code="corrupt_image",
        ) from error
    return _upright(_grey(image) if is_deep else _colours(image), _orientation(image))


def _grey(image: Any) -> Pixels:
    """Return the high byte of 16-bit greyscale, as the gate does, and black for the transparent level."""
    levels = np.asarray(image)
    grey = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[levels == transparent] = 0
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _colours(image: Any) -> Pixels:
    if image.mode in _PREMULTIPLIED_MODES:  # The levels are those over black.
        levels: Pixels = np.asarray(image)[:, :, :-1]
        return levels if image.mode == "RGBa" else np.repeat(levels, 3, axis=2)
    if _is_key_ambiguous(image):
        raise BadImage("the Pillow image has 8 bits, but its transparent colour has another bit depth: pass the file")
    try:
        pixels: Pixels = np.asarray(image.convert("RGBA" if _has_transparency(image) else "RGB"))
    except (TypeError, ValueError) as error:
        raise BadImage(f"the Pillow image has mode {quoted(image.mode)}{_hint(image)}") from error
    if pixels.shape[2] == 3:
        return pixels
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    return ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _has_transparency(image: Any) -> bool:
    """Return what `has_transparency_data` is in Pillow 10.1 and newer; older releases are in use."""
    palette_mode = getattr(image.palette, "mode", "") if image.mode == "P" else ""  # Some ICO files have no palette.
    return image.mode.endswith("A") or palette_mode.endswith("A") or "transparency" in image.info


def _hint(image: Any) -> str:
    key = image.info.get("transparency")
    if key is None:
        return ": convert it to RGB first"
    return f", and its info['transparency'] is {quoted(key)}, which does not fit that mode: delete it, or pass the file"


def _is_key_ambiguous(image: Any) -> bool:
    """Return whether the transparent colour may have 16, 4 or 2 bits: Pillow converts only the pixels."""
    key = image.info.get("transparency")
    if isinstance(key, tuple):
        return any(level > 255 for level in key)
    return image.format == "PNG" and image.mode == "L" and isinstance(key, int) and 0 < key < 16


def _orientation(image: Any) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # The image may be valid despite a damaged EXIF block.
        return 1
    return orientation if type(orientation) is int and 1 <= orientation <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
