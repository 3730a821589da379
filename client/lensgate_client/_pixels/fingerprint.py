"""Detect images that were overwritten in host memory or in their file."""

import os
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensgate_client._pixels.frameworks import view_on_host
from lensgate_client._pixels.raster import is_tensor

_ROWS = 16
_MAX_CHANNELS = 4
_HEAD_BYTES = 4_096


class ImageFingerprint:
    """Checksum of some rows of an image in host memory, or the size of its file; other images are not checked."""

    def __init__(self, image: Any) -> None:
        self._image = _host_view(image) if is_tensor(image) else image
        self._checksum = self._compute()

    def check(self) -> None:
        """Raise ValueError if the image has changed."""
        if self._compute() != self._checksum:
            raise ValueError(
                "an image was overwritten after the gate scored it and before it was returned: allocate new memory for "
                "each image, or write a new file"
            )

    def _compute(self) -> int:
        if isinstance(self._image, np.ndarray):
            return _checksum_of_rows(self._image)
        if isinstance(self._image, bytearray):
            return zlib.crc32(self._image[:_HEAD_BYTES], len(self._image))
        return _file_size(self._image) if isinstance(self._image, str | os.PathLike) else 0


def _checksum_of_rows(pixels: NDArray[Any]) -> int:
    if pixels.ndim < 3:
        return 0
    if pixels.shape[-1] <= _MAX_CHANNELS:
        rows = pixels[..., :: max(1, pixels.shape[-3] // _ROWS), :, :]
    else:
        rows = pixels[..., :: max(1, pixels.shape[-2] // _ROWS), :]
    return zlib.crc32(np.ascontiguousarray(rows).view(np.uint8).data)


def _file_size(path: str | os.PathLike[str]) -> int:
    """Return the size, which differs for nearly all images; file systems may report the time of a change late."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - the path may be of bytes.
    except (OSError, ValueError):
        return 0


def _host_view(image: Any) -> NDArray[Any] | None:
    try:
        return view_on_host(image)
    except Exception:  # The type is unknown to NumPy, such as bfloat16, or the tensor requires a gradient.
        return None
