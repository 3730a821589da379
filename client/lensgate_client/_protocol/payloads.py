"""What travels: an image file, or pixels of the model's size; and how it is made of what a caller asks."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lensgate_client._pixels.images import Ask
from lensgate_client._pixels.raster import Raster, count_of
from lensgate_client._pixels.shrink import Pixels
from lensgate_client.errors import BadImage
from lensgate_client.models import ImageFailed, Label


def new_name() -> str:
    """For an image whose caller gave it none."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class File:
    """One image file."""

    data: bytes = field(repr=False)
    expected: Label | None
    name: str = field(default_factory=new_name)

    @property
    def names(self) -> tuple[str]:
        """Of its images."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Block:
    """N images as the model takes them, uint8 `[N, size, size, 3]`.

    `is_named` where the caller gave the name: such a block is not joined with others.
    """

    pixels: Pixels = field(repr=False)
    expected: tuple[Label | None, ...]
    name: str = field(default_factory=new_name)
    is_named: bool = False

    @property
    def names(self) -> list[str]:
        """What the gate's record calls its images."""
        count = len(self.pixels)
        return [self.name] if count == 1 else [f"{self.name}.{index}" for index in range(count)]

    def cut(self, first: int, stop: int) -> "Block":
        """Some of its images, under a name of their own."""
        return Block(self.pixels[first:stop], self.expected[first:stop])


Part = File | Block
Job = Callable[[], Part]
"""Makes a part: the work on pixels, which may be done elsewhere."""


def file_of(data: bytes, ask: Ask) -> File:
    """An image that is a file already."""
    return File(data, ask.expected, ask.id or new_name())


def jobs_of(raster: Raster, ask: Ask, *, size: int, most: int, threads: Executor) -> Iterator[Job]:
    """What has to be done to pixels, up to `most` images at a time.

    Raises:
        BadImage: they cannot be judged.
    """
    if not raster.fits(size):
        for index in range(raster.count):
            yield partial(_file_job, raster, ask, index)
        return
    for first in range(0, raster.count, most):
        stop = min(first + most, raster.count)
        yield partial(_block_job, raster, ask, first, stop, size=size, threads=threads)


def _file_job(raster: Raster, ask: Ask, index: int) -> Part:
    return file_of(raster.file(index), ask)


def _block_job(raster: Raster, ask: Ask, first: int, stop: int, *, size: int, threads: Executor) -> Part:
    pixels = raster.shrink(first, stop, size=size, threads=threads)
    expected = (ask.expected,) * (stop - first)
    if ask.id is None:
        return Block(pixels, expected)
    return Block(pixels, expected, ask.id, is_named=True)


def failures_of(ask: Ask, error: BadImage) -> Iterator[ImageFailed]:
    """One for each image that `ask` stands for."""
    for _ in range(count_of(ask.image)):
        yield ImageFailed(ask.id or new_name(), error)


def join(parts: Sequence[Part]) -> Part:
    """One request of one file, or of the images of several blocks."""
    first = parts[0]
    if isinstance(first, File) or len(parts) == 1:
        return first
    blocks = [part for part in parts if isinstance(part, Block)]
    expected = tuple(label for block in blocks for label in block.expected)
    return Block(np.concatenate([block.pixels for block in blocks]), expected)
