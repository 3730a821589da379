"""The system's libpng by its simplified interface: the baseline of the figures that other decoders publish.

http://www.libpng.org/pub/png/libpng-manual.txt, section "Simplified API".
"""

import ctypes
import ctypes.util

import numpy as np

from gate.types import Pixels

NAME = "png16"
_VERSION = 1
_RGB = 2


class _Image(ctypes.Structure):
    """`png_image`."""

    _fields_ = (
        ("opaque", ctypes.c_void_p),
        ("version", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("format", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("colormap_entries", ctypes.c_uint32),
        ("warning_or_error", ctypes.c_uint32),
        ("message", ctypes.c_char * 64),
    )


class Libpng:
    """Decode whole PNG files to uint8 `[height, width, 3]`.

    Raises:
        OSError: libpng is not installed.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library(NAME) or f"lib{NAME}.so.16")
        self._library.png_get_libpng_ver.restype = ctypes.c_char_p

    @property
    def version(self) -> str:
        """Its version."""
        text: bytes = self._library.png_get_libpng_ver(None)
        return text.decode()

    def __call__(self, data: bytes) -> Pixels:
        """Decode one file.

        Raises:
            ValueError: the file is broken.
        """
        image = _Image(version=_VERSION)
        size = ctypes.c_size_t(len(data))
        if not self._library.png_image_begin_read_from_memory(ctypes.byref(image), data, size):
            raise ValueError(image.message.decode())
        image.format = _RGB
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        if not self._library.png_image_finish_read(
            ctypes.byref(image), None, pixels.ctypes.data_as(ctypes.c_void_p), 0, None
        ):
            raise ValueError(image.message.decode())
        return pixels
