"""The images that a caller hands over together, or one after the other."""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from lensgate_client._pixels.images import Ask, ImageLike, Tensor, checked_label
from lensgate_client._pixels.pillow_images import is_picture
from lensgate_client._pixels.raster import count_of, each_of, is_tensor
from lensgate_client._protocol.texts import cut
from lensgate_client.models import Label

Given = ImageLike | Ask
Images = Iterable[Given] | Tensor
"""Images and batches in an iterable, or one batch."""

_Item = TypeVar("_Item")


class Kept(Generic[_Item]):
    """Iterates up to the first error of `items`, as if they ended there; `check` then raises it."""

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

    def check(self) -> None:
        """Raise what ended it."""
        if self._error is not None:
            raise self._error


def check_images(images: object, expected: object) -> None:
    """Raise TypeError unless it is an iterable of images or a batch, ValueError for what is no label."""
    if isinstance(images, bytes | bytearray | memoryview | str | os.PathLike | Ask) or is_picture(images):
        raise TypeError("this takes an iterable of images, not one image: put it into a list, or call decide")
    if hasattr(images, "read"):
        raise TypeError("this takes an iterable of images, not a file object, whose lines are none: pass its bytes")
    if isinstance(images, Mapping):
        raise TypeError("this takes an iterable of images, not a mapping, whose keys are none: pass its values()")
    if not is_tensor(images) and not hasattr(images, "__aiter__"):
        try:
            iter(images)  # type: ignore[call-overload]
        except TypeError:
            kind = cut(type(images).__name__, 80)
            raise TypeError(f"this takes an iterable of images, and a {kind} is none") from None
    checked_label(expected)


def each_given(images: Images) -> Iterable[Given]:
    """One after the other; a batch is one."""
    return (images,) if is_tensor(images) else images  # type: ignore[return-value]


async def aiterate(images: Images | AsyncIterable[Given]) -> AsyncIterator[Given]:
    """The same of an iterable of either kind; between two images of one that is not asynchronous others may run."""
    if isinstance(images, AsyncIterable):
        async for given in images:
            yield given
        return
    for given in each_given(images):
        yield given
        await asyncio.sleep(0)


def ask_of(given: Given, expected: Label | None, name: str | None = None) -> Ask:
    """What is asked of an image; what it says itself goes before what is said of it here."""
    if not isinstance(given, Ask):
        return Ask(given, expected, name)
    return Ask(given.image, given.expected or expected, given.id or name)


def ask_of_one(given: Given, expected: Label | None, name: str | None) -> Ask:
    """The same of what has to be one image.

    Raises:
        ValueError: it is a batch of another number of images, or the label or the name is none.
    """
    ask = ask_of(given, expected, name)
    if (count := count_of(ask.image)) != 1:
        raise ValueError(f"this is a batch of {count} images, and decide takes one: decide_many takes batches")
    return ask


class Held:
    """The images of a call, kept so that some can be asked about once more; iterated once, and pulled as that goes on.

    So a buffer that the caller fills again for each image has been read before; it can only be read once.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._kept: list[Given] = []

    def __iter__(self) -> Iterator[Given]:
        for given in each_given(self._images):
            self._kept.append(given)
            yield given

    @property
    def is_intact(self) -> bool:
        """Whether no object came twice of an iterable that may have filled it with another image meanwhile."""
        if isinstance(self._images, Sequence) or is_tensor(self._images):
            return True
        images = (given.image if isinstance(given, Ask) else given for given in self._kept)
        buffers = [id(image) for image in images if not isinstance(image, bytes | str | os.PathLike)]
        return len(set(buffers)) == len(buffers)

    def pick(self, indexes: Sequence[int]) -> list[Given]:
        """Some of the images, counting those of batches one by one."""
        every = list(_singles(self._kept))
        return [every[index] for index in indexes]


def _singles(held: Iterable[Given]) -> Iterator[Given]:
    for given in held:
        if isinstance(given, Ask):
            yield from (Ask(one, given.expected, given.id) for one in each_of(given.image))
        else:
            yield from each_of(given)
