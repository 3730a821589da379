"""Images as pixels, in whichever memory, held against what the gate's model takes."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lensgate_client._pixels.frameworks import Framework, dtype_name, framework_of, view_on_host
from lensgate_client._pixels.png import write_png
from lensgate_client._pixels.shrink import MAX_RATIO, Pixels, shrink_device, shrink_host
from lensgate_client._protocol.texts import cut, shown
from lensgate_client.errors import BadImage

_LAYOUTS = "[H, H, 3], [N, H, H, 3], [3, H, H] or [N, 3, H, H]"

_LEVELS = ": if its values are from 0 to 255, pass array.astype('uint8')"
_CURES = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint32", "uint64"), _LEVELS),
    "uint16": ": if its values are from 0 to 65535, pass (array >> 8).astype('uint8')",
    "bool": ": pass array.astype('uint8') * 255",
}


@dataclass(frozen=True, slots=True)
class Raster:
    """N images of one size, uint8 `[N, H, W, 3]` or, where `channels_first`, `[N, 3, H, W]`.

    `framework` is None where `data` is NumPy's.
    """

    data: Any
    channels_first: bool
    framework: Framework | None

    @property
    def count(self) -> int:
        """N."""
        return int(self.data.shape[0])

    @property
    def is_on_host(self) -> bool:
        """Whether the pixels are in the processor's memory, where any thread may work on them."""
        return self.framework is None

    def fits(self, size: int) -> bool:
        """Whether the images can be shrunk to `size` here; otherwise they travel whole, as files.

        Raises:
            BadImage: they cannot be judged: not square, too small, or too large.
        """
        height, width = (int(edge) for edge in (self.data.shape[2:] if self.channels_first else self.data.shape[1:3]))
        shown = f"the image is {width} x {height}"
        if height != width:
            raise BadImage(f"{shown}: crop it to a square portrait", code="not_square")
        if height < size:
            raise BadImage(f"{shown}: the model needs at least {size} x {size}", code="image_too_small")
        if height > size * MAX_RATIO:
            raise BadImage(f"{shown}: {MAX_RATIO} x the model's {size} is the most", code="image_too_large")
        return height % size == 0

    def shrink(self, first: int, stop: int, *, size: int, threads: Executor | None = None) -> Pixels:
        """The images from `first` up to `stop`, `[stop - first, size, size, 3]`; their size `fits`."""
        images = self.data[first:stop, ...]
        if self.framework is not None:
            return shrink_device(images, size, framework=self.framework, channels_first=self.channels_first)
        one = partial(shrink_host, size=size, channels_first=self.channels_first)
        run = map if threads is None or len(images) == 1 else threads.map
        return np.stack(list(run(one, images)))

    def file(self, index: int) -> bytes:
        """One image whole, as a PNG file."""
        image = self.data[index, ...]
        pixels = image if self.framework is None else self.framework.to_host(image)
        return write_png(pixels.transpose(1, 2, 0) if self.channels_first else pixels)


def is_tensor(image: object) -> bool:
    """Whether it has a shape and a type of elements, as arrays and tensors have."""
    return hasattr(image, "shape") and hasattr(image, "dtype")


def is_batch(image: Any) -> bool:
    """Whether it stands for several images."""
    return is_tensor(image) and len(image.shape) == 4


def count_of(image: Any) -> int:
    """How many images it stands for."""
    return int(image.shape[0]) if is_batch(image) else 1


def each_of(image: Any) -> Iterator[Any]:
    """The images it stands for; of a batch they are views, made one at a time."""
    if not is_batch(image):
        yield image
        return
    for index in range(count_of(image)):
        yield image[index, ...]


def open_raster(tensor: Any) -> Raster:
    """An array or tensor as images; nothing is copied.

    The last axis, or the one before rows and columns, is the three colours: no image is three pixels wide.

    Raises:
        BadImage: it is of another type or shape, or of an unknown framework.
    """
    shape = tuple(int(edge) for edge in tensor.shape)
    _check_dtype(dtype_name(tensor))
    channels_first = _find_channels(shape)
    data, framework = _locate(tensor)
    if len(shape) == 3:
        data = data[None] if framework is None else framework.reshape(data, (1, *shape))
    return Raster(data, channels_first, framework)


def _check_dtype(dtype: str) -> None:
    if "float" in dtype:
        raise BadImage(
            f"the pixels are {cut(dtype, 80)}, not uint8: convert them with lensgate_client.to_uint8(images), which "
            "takes values from -1 to 1, or with to_uint8(images, low=0.0, high=1.0), or high=255.0, as theirs are"
        )
    if dtype != "uint8":
        raise BadImage(f"the pixels are {cut(dtype, 80)}, not uint8{_CURES.get(dtype, '')}")


def _find_channels(shape: tuple[int, ...]) -> bool:
    """Whether the colours stand before rows and columns."""
    if len(shape) in (3, 4) and math.prod(shape[1:]) > 0:
        if shape[-1] == 3:
            return False
        if shape[-3] == 3:
            return True
    raise BadImage(f"the shape {shown(list(shape))} is none of images in RGB, which is {_LAYOUTS}{_hint(shape)}")


def _hint(shape: tuple[int, ...]) -> str:
    """How an image with another number of channels becomes one with three."""
    if len(shape) in (3, 4) and 0 not in shape:
        if 4 in (shape[-1], shape[-3]):
            return ". Alpha lies over black, as in a file, where you pass Image.fromarray(array) of [H, W, 4]"
        if 1 in (shape[-1], shape[-3]):
            return ". Repeat the one channel: numpy.repeat(array, 3, axis)"
    return ". Repeat the grey: numpy.stack([array] * 3, axis=-1)" if len(shape) == 2 else ""


def _locate(tensor: Any) -> tuple[Any, Framework | None]:
    on_host = view_on_host(tensor)
    if on_host is not None:
        return on_host, None
    framework = framework_of(tensor)
    if framework is None:
        raise BadImage(
            f"a {type(tensor).__name__} is no tensor of NumPy, CuPy, JAX, PyTorch, TensorFlow or the array API standard"
        )
    return tensor, framework
