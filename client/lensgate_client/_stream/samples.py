"""The samples of a generator: how its source ends, and which rows of a sample belong to its images."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

from lensgate_client._pixels.images import is_single_image
from lensgate_client._pixels.raster import count_images, is_batch, is_tensor
from lensgate_client.errors import truncated

Source = Iterable[Any] | Callable[[], Any]
"""A source of samples: an iterable, or a function that returns the next sample at each call.

Each item is a sample or a list of samples; a sample is an image or a batch of images. A sample is returned after the
next one was generated, so each needs its own memory or file: an array in host memory, or a file, that was overwritten
raises ValueError. A function has ended that raises StopIteration, as `iter(loader).__next__` does, or returns an empty
sample 1,000 times in a row.
"""

AsyncSource = Source | AsyncIterable[Any]
"""A `Source`, or an asynchronous iterable; the function may be asynchronous too."""

_MAX_EMPTY = 1000


def check_source(source: object) -> None:
    """Raise TypeError if the source is one image: of the text of a path, each letter would fail as an image."""
    if is_single_image(source):
        raise TypeError("expected a source of samples, not one image: pass a list, or call decide")


def iterate_samples(source: Source) -> Iterator[Any]:
    """Yield the items of a source."""
    # A non-callable may be a sequence without `__iter__`, such as a data set.
    if isinstance(source, Iterable) or not callable(source):
        yield from source
        return
    empty = 0
    while empty < _MAX_EMPTY:
        try:
            item = source()
        except StopIteration:  # The source is `iter(loader).__next__` or similar.
            return
        empty = empty + 1 if _is_empty(item) else 0
        yield item


async def aiterate_samples(source: AsyncSource) -> AsyncGenerator[Any, None]:
    """Yield the items of a source; between those of a blocking one other tasks may run."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    elif isinstance(source, Iterable) or not callable(source):
        for item in source:
            yield item
            await asyncio.sleep(0)
    else:
        empty = 0
        while empty < _MAX_EMPTY:
            try:
                returned = source()
                item = await returned if inspect.isawaitable(returned) else returned
            except (StopIteration, StopAsyncIteration):
                return
            empty = empty + 1 if _is_empty(item) else 0
            yield item
            await asyncio.sleep(0)


def rows_of(images: Any, sample: Any) -> Iterable[int | None]:
    """Return the indexes of a sample's images, or None for all of it.

    Raises:
        ValueError: one of the two is a batch, and the other does not have a row for each image.
    """
    count = count_images(images) if is_batch(images) else None
    rows = _count_rows(sample)
    if count == rows or (count is None and not (is_batch(sample) and rows != 1)):
        return (None,) if count is None else range(count)
    returned = "one image" if count is None else f"a batch of {count:,} images"
    kind = (
        f"tensor of {rows:,} rows" if is_tensor(sample) and rows is not None else truncated(type(sample).__name__, 80)
    )
    raise ValueError(
        f"pixels returned {returned} for one sample, a {kind}: generate a batch of images, or samples with one image "
        "each. A loader's pairs become batches with (images for images, labels in loader); a list is several samples"
    )


def _count_rows(sample: Any) -> int | None:
    """Return the number of rows of a tensor, or of an object with an index and a length; None if it has no rows."""
    if is_tensor(sample):
        return sample.shape[0] if len(sample.shape) > 0 else None
    # A tuple has the fields of one sample or batch, and a mapping is read by name.
    if isinstance(sample, tuple | Mapping | str | bytes | bytearray):
        return None
    return len(sample) if isinstance(sample, Sized) and hasattr(sample, "__getitem__") else None


def _is_empty(item: Any) -> bool:
    return not item if isinstance(item, list) else count_images(item) == 0
