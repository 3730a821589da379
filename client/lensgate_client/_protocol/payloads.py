"""The content of a request: one image file, or pixels of the model's input size."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lensgate_client._pixels.images import Ask
from lensgate_client._pixels.raster import Raster, count_images
from lensgate_client.errors import BadImage
from lensgate_client.models import ImageFailed, Label


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class FilePayload:
    """One image file."""

    data: bytes = field(repr=False)
    expected: Label | None
    id: str = field(default_factory=_new_id)
    source: str | None = None

    @property
    def image_ids(self) -> tuple[str]:
        """The id of the image."""
        return (self.id,)


@dataclass(frozen=True, slots=True)
class PixelPayload:
    """N images of the model's input size from one source, uint8 `[N, size, size, 3]`.

    `has_own_id` marks an id that the caller chose; such a payload is not joined with others.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    expected: tuple[Label | None, ...]
    id: str = field(default_factory=_new_id)
    has_own_id: bool = False
    source: str | None = None

    @property
    def image_ids(self) -> list[str]:
        """The ids of the images in the gate's record."""
        count = len(self.pixels)
        return [self.id] if count == 1 else [f"{self.id}.{index}" for index in range(count)]

    def slice(self, first: int, stop: int) -> "PixelPayload":
        """Return some of the images under a new id."""
        return PixelPayload(self.pixels[first:stop], self.expected[first:stop], source=self.source)


Payload = FilePayload | PixelPayload
PayloadBuilder = Callable[[], Payload]
"""Creates a payload from pixels; the work may run on another thread."""


def file_payload(data: bytes, ask: Ask) -> FilePayload:
    """Create the payload of an image that is a file already."""
    return FilePayload(data, ask.expected, ask.id or _new_id(), ask.source)


def payload_builders(
    raster: Raster, ask: Ask, *, size: int, batch_size: int, executor: Executor
) -> Iterator[PayloadBuilder]:
    """Yield one builder for each payload of up to `batch_size` images.

    Raises:
        BadImage: the images cannot be scored.
    """
    if not raster.fits(size):
        for index in range(raster.count):
            yield partial(_encode_file, raster, ask, index)
        return
    for first in range(0, raster.count, batch_size):
        stop = min(first + batch_size, raster.count)
        yield partial(_shrink_pixels, raster, ask, first, stop, size=size, executor=executor)


def _encode_file(raster: Raster, ask: Ask, index: int) -> Payload:
    return file_payload(raster.encode_png(index), ask)


def _shrink_pixels(raster: Raster, ask: Ask, first: int, stop: int, *, size: int, executor: Executor) -> Payload:
    pixels = raster.shrink(first, stop, size=size, executor=executor)
    expected = (ask.expected,) * (stop - first)
    if ask.id is None:
        return PixelPayload(pixels, expected, source=ask.source)
    return PixelPayload(pixels, expected, ask.id, has_own_id=True, source=ask.source)


def failures(ask: Ask, error: BadImage) -> Iterator[ImageFailed]:
    """Yield one failure for each image of `ask`."""
    for _ in range(count_images(ask.image)):
        yield ImageFailed(ask.id or _new_id(), error)


def join_payloads(payloads: Sequence[Payload]) -> Payload:
    """Combine several pixel payloads into one; return a single payload unchanged."""
    first = payloads[0]
    if isinstance(first, FilePayload) or len(payloads) == 1:
        return first
    blocks = [payload for payload in payloads if isinstance(payload, PixelPayload)]
    expected = tuple(label for block in blocks for label in block.expected)
    return PixelPayload(np.concatenate([block.pixels for block in blocks]), expected, source=blocks[0].source)
