"""The images that a caller passes together, in an iterable or a batch."""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from lensgate_client._pixels.images import Ask, ImageInput, TensorLike, checked_label, is_single_image
from lensgate_client._pixels.raster import count_images, is_tensor, iterate_batch
from lensgate_client.errors import truncated
from lensgate_client.models import Label

ImageInputs = Iterable[ImageInput] | TensorLike
"""Images and batches in an iterable, or one batch."""

_Item = TypeVar("_Item")


class DeferredErrorIterable(Generic[_Item]):
    """Iterates over `items` and ends at their first error; `raise_error` then raises that error."""

    def __init__(self, items: Iterable[_Item]) -> None:
        self._items = items
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[_Item]:
        iterator = iter(self._items)
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                self._error = error
                return
            yield item

    def raise_error(self) -> None:
        """Raise the error that ended the iteration, if there was one."""
        if self._error is not None:
            raise self._error


def check_images(images: object, expected: object) -> None:
    """Check the arguments of a call: an iterable of images or a batch, and a label or None.

    Raises:
        TypeError: `images` is one image or not iterable.
        ValueError: `expected` is not a label.
    """
    if is_single_image(images):
        raise TypeError("expected an iterable of images, not one image: pass a list, or call decide")
    if hasattr(images, "read"):
        raise TypeError("expected an iterable of images, not a file object: pass its bytes in a list")
    if isinstance(images, Mapping):
        raise TypeError("expected an iterable of images, not a mapping: pass its values()")
    # `iter` would start the workers of a data loader, which starts others for the images themselves.
    if not (is_tensor(images) or isinstance(images, Iterable | AsyncIterable) or hasattr(type(images), "__getitem__")):
        raise TypeError(f"expected an iterable of images, not {truncated(type(images).__name__, 80)}")
    checked_label(expected)


def iterate_inputs(images: ImageInputs) -> Iterable[ImageInput]:
    """Return the inputs one by one; a batch is one input."""
    return (images,) if is_tensor(images) else images  # type: ignore[return-value]


async def aiterate_inputs(images: ImageInputs | AsyncIterable[ImageInput]) -> AsyncIterator[ImageInput]:
    """Yield the inputs one by one; between those of a blocking iterable other tasks may run."""
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
        return
    for image in iterate_inputs(images):
        yield image
        await asyncio.sleep(0)


def count_inputs(image: ImageInput) -> int:
    """Return the number of images in an input."""
    return count_images(image.image if isinstance(image, Ask) else image)


def to_ask(image: ImageInput, expected: Label | None, image_id: str | None = None, source: str | None = None) -> Ask:
    """Return an `Ask`; the values of an existing `Ask` take precedence."""
    if not isinstance(image, Ask):
        return Ask(image, expected, image_id, source)
    return Ask(image.image, image.expected or expected, image.id or image_id, image.source or source)


def to_single_ask(image: ImageInput, expected: Label | None, image_id: str | None) -> Ask:
    """Return an `Ask` of one image.

    Raises:
        ValueError: it is a batch of another number of images, or the label or the id is invalid.
    """
    ask = to_ask(image, expected, image_id)
    if (count := count_images(ask.image)) != 1:
        raise ValueError(f"decide takes one image, not a batch of {count}: decide_many takes batches")
    return ask


class RetainedInputs:
    """The inputs of a call, iterated once and retained so that some images can be sent again.

    An input is read before the next is requested, so that the caller may reuse a buffer; such a buffer cannot be sent
    again.
    """

    def __init__(self, images: ImageInputs) -> None:
        self._images = images
        self._retained: list[ImageInput] = []

    def __iter__(self) -> Iterator[ImageInput]:
        for image in iterate_inputs(self._images):
            self._retained.append(image)
            yield image

    @property
    def is_intact(self) -> bool:
        """Whether the images are unchanged: an iterable that yields an object twice may have overwritten it."""
        if isinstance(self._images, Sequence) or is_tensor(self._images):
            return True
        images = (retained.image if isinstance(retained, Ask) else retained for retained in self._retained)
        buffers = [id(image) for image in images if not isinstance(image, bytes | str | os.PathLike)]
        return len(set(buffers)) == len(buffers)

    def select(self, indexes: Sequence[int]) -> list[ImageInput]:
        """Return some of the images; each image of a batch has its own index."""
        images = list(_single_images(self._retained))
        return [images[index] for index in indexes]


def _single_images(inputs: Iterable[ImageInput]) -> Iterator[ImageInput]:
    for item in inputs:
        if isinstance(item, Ask):
            yield from (Ask(image, item.expected, item.id, item.source) for image in iterate_batch(item.image))
        else:
            yield from iterate_batch(item)
