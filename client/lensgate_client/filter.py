"""`GateFilter`: the images of a generator that the gate accepts, until there are enough."""

import asyncio
import inspect
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lensgate_client._pixels.frameworks import view_on_host
from lensgate_client._pixels.images import Ask, checked_label
from lensgate_client._pixels.raster import count_of, is_batch, is_tensor
from lensgate_client._stream.filter_limits import FilterStats, Limits, Take
from lensgate_client._stream.sources import Given
from lensgate_client.async_client import AsyncGate
from lensgate_client.client import Gate
from lensgate_client.models import Label

Source = Iterable[Any] | Callable[[], Any]
"""What makes samples: an iterable of them, or a function that makes the next each time it is called.

What it makes at a time is a sample, or a list of samples; a sample is an image or a batch of images. Each is a new one:
it is handed out later than the next is made, and must not be overwritten by it: of an array in the processor's memory
that is noticed, and a ValueError. A function that makes none a thousand
times in a row has ended.
"""

AsyncSource = Source | AsyncIterable[Any]
"""The same, or an asynchronous iterable; the function may be asynchronous too."""

_Held = tuple[Any, int | None, "Imprint"]
"""A sample, which of its images, where it is a batch, and what its pixels were."""

_MOST_EMPTY = 1000
_IMPRINT_ROWS = 16
_MOST_CHANNELS = 4

_Gate = TypeVar("_Gate", Gate, AsyncGate)


class Imprint:
    """Some rows of an image in the processor's memory, to notice that it was overwritten; of others nothing."""

    def __init__(self, image: Any) -> None:
        self._pixels = _view(image)
        self._sum = self._checksum()

    def check(self) -> None:
        """Raise ValueError where the image is no longer the one that was judged."""
        if self._checksum() != self._sum:
            raise ValueError(
                "an image was overwritten between being judged and being handed out: make each in memory of its own"
            )

    def _checksum(self) -> int:
        pixels = self._pixels
        if pixels is None or pixels.ndim < 3:
            return 0
        if pixels.shape[-1] <= _MOST_CHANNELS:
            rows = pixels[..., :: max(1, pixels.shape[-3] // _IMPRINT_ROWS), :, :]
        else:
            rows = pixels[..., :: max(1, pixels.shape[-2] // _IMPRINT_ROWS), :]
        return zlib.crc32(np.ascontiguousarray(rows).view(np.uint8).data)


def _view(image: Any) -> NDArray[Any] | None:
    if not is_tensor(image):
        return None
    try:
        return view_on_host(image)
    except Exception:  # Of a type that NumPy has not, such as bfloat16, or with a gradient.
        return None


class _Filter(Generic[_Gate]):
    """What both filters share.

    `stats` is of the `take` that was begun last.

    Args:
        gate: judges; it is not closed.
        pixels: what the gate is shown of a sample, or an `Ask` of it, such as `to_uint8`; the sample itself if missing.
        max_reject_ratio: share of the images that may be rejected, once `min_samples` were seen.
        min_samples: before so many were seen no share says anything.
        max_samples: most images that one `take` looks at; None is no limit.
        ahead: requests to the gate that the generator is ahead of who takes the images.
    """

    def __init__(
        self,
        gate: _Gate,
        *,
        pixels: Callable[[Any], Given] | None = None,
        max_reject_ratio: float = 0.9,
        min_samples: int = 200,
        max_samples: int | None = None,
        ahead: int = 2,
    ) -> None:
        self.stats = FilterStats()
        self._gate: _Gate = gate
        self._pixels = pixels
        self._limits = Limits(max_reject_ratio, min_samples, max_samples)
        self._ahead = ahead

    def _begin(self, count: int | None, expected: Label | None) -> Take:
        checked_label(expected)
        take = Take(self._limits, count)
        self.stats = take.stats
        return take

    def _show(self, sample: Any, held: deque[_Held]) -> Iterator[Given]:
        """What the gate is asked; what is to be handed out for it goes into `held`, image by image."""
        for each in sample if isinstance(sample, list) else (sample,):
            given = each if self._pixels is None else self._pixels(each)
            image = given.image if isinstance(given, Ask) else given
            kept = each.image if isinstance(each, Ask) else each
            imprint = Imprint(kept if is_tensor(kept) else image)
            held.extend((kept, index, imprint) for index in (range(count_of(image)) if is_batch(image) else (None,)))
            yield given


class GateFilter(_Filter[Gate]):
    """Wraps a generator's sampling loop:

        for image in GateFilter(gate).take(generate, 1000, expected="glasses"):
            ...

    What comes out are the generator's own images, whole and where they are. While the gate judges, the generator makes
    the next.
    """

    def take(
        self, source: Source, count: int | None = None, *, expected: Label | None = None
    ) -> Generator[Any, None, None]:
        """The first `count` accepted images, or all there are if it is None, in the order in which they were made.

        Args:
            source: makes samples.
            count: how many images are wanted.
            expected: what the generator is asked for.

        Raises:
            GaveUp: too many are rejected, or the samples end before there are enough.
            GateError: the gate cannot be asked any further.
        """
        return self._take(self._begin(count, expected), source, expected)

    def _take(self, take: Take, source: Source, expected: Label | None) -> Generator[Any, None, None]:
        held = deque[_Held]()
        shown = (given for sample in _samples(source) for given in self._show(sample, held))
        with closing(self._gate.decide_stream(shown, expected, ahead=self._ahead)) as outcomes:
            for outcome in outcomes:
                sample, index, imprint = held.popleft()
                if take.keeps(outcome):
                    imprint.check()
                    yield sample if index is None else sample[index]
                if take.is_complete():
                    return
        take.end()


class AsyncGateFilter(_Filter[AsyncGate]):
    """`GateFilter` for asyncio: the same arguments and promises."""

    def take(
        self, source: AsyncSource, count: int | None = None, *, expected: Label | None = None
    ) -> AsyncGenerator[Any, None]:
        """As `GateFilter.take`. Who leaves it early closes it with `contextlib.aclosing`."""
        return self._take(self._begin(count, expected), source, expected)

    async def _take(self, take: Take, source: AsyncSource, expected: Label | None) -> AsyncGenerator[Any, None]:
        held = deque[_Held]()
        shown = (given async for sample in _asamples(source) for given in self._show(sample, held))
        async with aclosing(self._gate.decide_stream(shown, expected, ahead=self._ahead)) as outcomes:
            async for outcome in outcomes:
                sample, index, imprint = held.popleft()
                if take.keeps(outcome):
                    imprint.check()
                    yield sample if index is None else sample[index]
                if take.is_complete():
                    return
        take.end()


def _samples(source: Source) -> Iterator[Any]:
    # What cannot be called may be a sequence without `__iter__`, as data sets are.
    if isinstance(source, Iterable) or not callable(source):
        yield from source
        return
    empty = 0
    while empty < _MOST_EMPTY:
        sample = source()
        empty = empty + 1 if _is_empty(sample) else 0
        yield sample


async def _asamples(source: AsyncSource) -> AsyncGenerator[Any, None]:
    if isinstance(source, AsyncIterable):
        async for sample in source:
            yield sample
    elif isinstance(source, Iterable) or not callable(source):
        for sample in source:
            yield sample
            await asyncio.sleep(0)
    else:
        empty = 0
        while empty < _MOST_EMPTY:
            made = source()
            sample = await made if inspect.isawaitable(made) else made
            empty = empty + 1 if _is_empty(sample) else 0
            yield sample
            await asyncio.sleep(0)


def _is_empty(sample: Any) -> bool:
    return not sample if isinstance(sample, list) else count_of(sample) == 0
