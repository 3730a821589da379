"""Images as pixel arrays on any device, and their preparation for the input size of a model."""

import math
import re
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lensgate_client._pixels.frameworks import Framework, dtype_name, framework_of, view_on_host
from lensgate_client._pixels.png import write_png
from lensgate_client._pixels.shrink import MAX_RATIO, THREADS, Pixels, shrink_on_device, shrink_on_host
from lensgate_client.errors import BadImage, quoted, truncated

_LAYOUTS = "[H, H, 3], [N, H, H, 3], [3, H, H] or [N, 3, H, H]"

_FROM_BYTE_RANGE = ": if its values are from 0 to 255, pass array.astype('uint8')"
_CONVERSIONS = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint32", "uint64"), _FROM_BYTE_RANGE),
    "uint16": ": if its values are from 0 to 65535, pass (array >> 8).astype('uint8')",
    "bool": ": pass array.astype('uint8') * 255",
}
_OBJECTS = re.compile(r"(?:large_)?(?:obj|str|bytes|binary|utf8|categor)", re.IGNORECASE)
"""Element types of NumPy, TensorFlow, pandas, Polars and PyArrow that hold paths or files."""

_ENCODED_FILE = ". If it is an encoded file, pass its bytes, array.tobytes()"


@dataclass(frozen=True, slots=True)
class Raster:
    """N images of one size, uint8 `[N, H, W, 3]` or, if `channels_first`, `[N, 3, H, W]`.

    `framework` is None if `data` is a NumPy array.
    """

    data: Any
    channels_first: bool
    framework: Framework | None

    @property
    def count(self) -> int:
        """Number of images."""
        return int(self.data.shape[0])

    @property
    def is_on_host(self) -> bool:
        """Whether the pixels are in host memory, where any thread may process them."""
        return self.framework is None

    def fits(self, size: int) -> bool:
        """Return whether the client can shrink the images to `size`; otherwise they are sent whole, as files.

        Raises:
            BadImage: the images are not square, too small or too large.
        """
        height, width = (int(edge) for edge in (self.data.shape[2:] if self.channels_first else self.data.shape[1:3]))
        dimensions = f"the image is {width} x {height}"
        if height != width:
            raise BadImage(f"{dimensions}: crop it to a square portrait", code="not_square")
        if height < size:
            raise BadImage(f"{dimensions}: the model needs at least {size} x {size}", code="image_too_small")
        if height > size * MAX_RATIO:
            raise BadImage(
                f"{dimensions}: the limit is {MAX_RATIO} times the model's input size {size}", code="image_too_large"
            )
        return height % size == 0

    def shrink(self, first: int, stop: int, *, size: int, executor: Executor | None = None) -> Pixels:
        """Return the images `[first:stop]` as `[stop - first, size, size, 3]`; requires `fits(size)`."""
        images = self.data[first:stop, ...]
        if self.framework is not None:
            return shrink_on_device(images, size, framework=self.framework, channels_first=self.channels_first)
        shrink_one = partial(shrink_on_host, size=size, channels_first=self.channels_first)
        if executor is None or len(images) == 1:
            return np.stack([shrink_one(image) for image in images])
        try:
            shrunk = executor.map(shrink_one, images)
        except RuntimeError:  # Another thread closed the gate object, or the interpreter ends: the request will tell.
            shrunk = map(shrink_one, images)
        return np.stack(list(shrunk))

    def encode_png(self, index: int) -> bytes:
        """Return one whole image as a PNG file."""
        image = self.data[index, ...]
        pixels = image if self.framework is None else self.framework.to_host(image)
        return write_png(pixels.transpose(1, 2, 0) if self.channels_first else pixels)


def create_shrink_executor() -> ThreadPoolExecutor:
    """Create the threads that shrink images in host memory; each starts when it is first needed."""
    return ThreadPoolExecutor(THREADS, "lensgate-shrink")


def is_tensor(image: object) -> bool:
    """Return whether `image` has a shape and an element type, as arrays and tensors have; False for a column."""
    try:
        return hasattr(image, "shape") and hasattr(image, "dtype") and not _is_column(image)
    except Exception:  # Nested tensors of PyTorch raise RuntimeError.
        return False


def _is_column(array: Any) -> bool:
    """Return whether `array` is an iterable of images, such as the paths in `frame["path"]` of pandas."""
    return _OBJECTS.match(dtype_name(array)) is not None and len(array.shape) < 2


def is_batch(image: Any) -> bool:
    """Return whether `image` is a batch of images; a symbolic tensor may have no number of images."""
    return is_tensor(image) and len(image.shape) == 4 and image.shape[0] is not None


def count_images(image: Any) -> int:
    """Return the number of images in `image`."""
    return int(image.shape[0]) if is_batch(image) else 1


def iterate_batch(image: Any) -> Iterator[Any]:
    """Yield the images of a batch as views, or `image` itself."""
    if not is_batch(image):
        yield image
        return
    for index in range(count_images(image)):
        yield image[index, ...]


def open_raster(tensor: Any) -> Raster:
    """Wrap an array or tensor without a copy.

    The axis of length 3 is the colour axis: the last one, or the one before rows and columns.

    Raises:
        BadImage: the element type, the shape or the framework is not supported, or the tensor holds no dense values.
    """
    try:
        return _open(tensor)
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Sparse, ragged, symbolic and deleted tensors raise many types.
        kind = truncated(type(tensor).__name__, 80)
        raise BadImage(
            f"the pixels of a {kind} cannot be read: {truncated(str(error), 200)}. Pass a dense tensor that has values"
        ) from error


def _open(tensor: Any) -> Raster:
    shape = tuple(int(edge) for edge in tensor.shape)
    _check_dtype(dtype_name(tensor))
    channels_first = _has_channels_first(shape)
    data, framework = _locate(tensor)
    if len(shape) == 3:
        data = data[None] if framework is None else framework.reshape(data, (1, *shape))
    return Raster(data, channels_first, framework)


def _check_dtype(dtype: str) -> None:
    if "float" in dtype:
        raise BadImage(
            f"the pixels are {truncated(dtype, 80)}, not uint8: convert them with lensgate_client.to_uint8(images) if "
            "they are from -1 to 1, or with to_uint8(images, low=0.0, high=1.0) or high=255.0 for another range"
        )
    if dtype != "uint8":
        raise BadImage(f"the pixels are {truncated(dtype, 80)}, not uint8{_CONVERSIONS.get(dtype, '')}")


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    if len(shape) in (3, 4) and math.prod(shape[1:]) > 0:
        if shape[-1] == 3:
            return False
        if shape[-3] == 3:
            return True
    raise BadImage(f"the shape {quoted(list(shape))} does not fit RGB images, {_LAYOUTS}{_shape_hint(shape)}")


def _shape_hint(shape: tuple[int, ...]) -> str:
    """Return a hint for converting an image with another number of channels, or a file."""
    if len(shape) in (3, 4) and 0 not in shape:
        if 4 in (shape[-1], shape[-3]):
            return ". For alpha over black, as the gate renders files, pass Image.fromarray(array) of [H, W, 4]"
        if 1 in (shape[-1], shape[-3]):
            return ". Repeat the channel: numpy.repeat(array, 3, axis)"
    if len(shape) == 1 or (len(shape) == 2 and 1 in shape):
        return _ENCODED_FILE
    return ". Repeat the grey channel: numpy.stack([array] * 3, axis=-1)" if len(shape) == 2 else ""


def _locate(tensor: Any) -> tuple[Any, Framework | None]:
    on_host = view_on_host(tensor)
    if on_host is not None:
        return on_host, None
    framework = framework_of(tensor)
    if framework is None:
        raise BadImage(
            f"a {type(tensor).__name__} is not a tensor of NumPy, CuPy, JAX, PyTorch, TensorFlow or the array API "
            "standard: pass numpy.asarray(image)"
        )
    return tensor, framework
