"""`GateFilter`: the images of a generator with the gate's verdicts, until enough of them are accepted."""

import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from lensgate_client._pixels.fingerprint import ImageFingerprint
from lensgate_client._pixels.images import Ask, ImageInput, checked_label
from lensgate_client._pixels.raster import is_tensor
from lensgate_client._stream.attempts import Attempts
from lensgate_client._stream.filter_run import FilterRun, FilterStats, RejectLimits
from lensgate_client._stream.inputs import to_ask
from lensgate_client._stream.samples import (
    AsyncSource,
    Source,
    aiterate_samples,
    check_source,
    iterate_samples,
    rows_of,
)
from lensgate_client._stream.verdicts import Regenerated, Sorted
from lensgate_client.async_client import AsyncGate
from lensgate_client.client import Gate
from lensgate_client.models import Label, Outcome

_Gate = TypeVar("_Gate", Gate, AsyncGate)
_Order = TypeVar("_Order")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One image that waits for its decision; `index` is its position in a batch."""

    sample: Any
    index: int | None
    fingerprint: ImageFingerprint

    def checked_image(self) -> Any:
        """Return the image; raise ValueError if it was overwritten."""
        self.fingerprint.check()
        return self.sample if self.index is None else self.sample[self.index]


class _Filter(Generic[_Gate]):
    """Base class of both filters.

    `stats` counts the images of the latest call.

    Args:
        gate: decides about the images; the filter does not close it.
        pixels: returns the image of a sample, or an `Ask`, for the gate, such as `to_uint8`; the sample itself if None.
        max_reject_ratio: largest share of rejected images, checked after `min_samples`.
        min_samples: images that must be processed before the ratio is checked.
        max_samples: most images that one call processes; None means no limit.
        ahead: most complete requests to the gate ahead of the images that were taken.
    """

    _kind: ClassVar[type[Gate] | type[AsyncGate]]

    def __init__(
        self,
        gate: _Gate,
        *,
        pixels: Callable[[Any], ImageInput] | None = None,
        max_reject_ratio: float = 0.9,
        min_samples: int = 200,
        max_samples: int | None = None,
        ahead: int = 2,
    ) -> None:
        if isinstance(gate, Gate | AsyncGate) and not isinstance(gate, self._kind):
            raise TypeError(f"{type(self).__name__} takes {self._kind.__name__}, not {type(gate).__name__}")
        self.stats = FilterStats()
        self._gate: _Gate = gate
        self._pixels = pixels
        self._limits = RejectLimits(max_reject_ratio, min_samples, max_samples)
        self._ahead = ahead

    def _begin(self, count: int | None, expected: Label | None, source: object = ()) -> FilterRun:
        checked_label(expected)
        check_source(source)
        run = FilterRun(self._limits, count)
        self.stats = run.stats
        return run

    def _attempt(self, sample: Any, candidates: deque[_Candidate]) -> ImageInput:
        """Return the input for the gate of an order's image; append its candidate.

        Raises:
            ValueError: it is not one image.
        """
        before = len(candidates)
        inputs = list(self._inputs(sample, candidates))
        if len(candidates) - before != 1:
            raise ValueError(f"one order has one image, but {len(candidates) - before} were generated")
        return inputs[0]

    def _inputs(self, item: Any, candidates: deque[_Candidate]) -> Iterator[ImageInput]:
        """Yield the inputs for the gate; append one candidate for each of their images.

        Raises:
            ValueError: `pixels` returned a batch for a sample that is none, or one image for a batch.
        """
        for sample in item if isinstance(item, list) else (item,):
            prepared = self._prepare(sample)
            image = prepared.image if isinstance(prepared, Ask) else prepared
            result = sample.image if isinstance(sample, Ask) else sample
            # `pixels` may write each image to the same file, which the caller does not get.
            fingerprint = ImageFingerprint(image if is_tensor(image) and not is_tensor(result) else result)
            candidates.extend(_Candidate(result, index, fingerprint) for index in rows_of(image, result))
            yield prepared

    def _prepare(self, sample: Any) -> Any:
        """Return the input for the gate; an image that `pixels` takes from an `Ask` keeps its label, id and source."""
        if self._pixels is None:
            return sample
        prepared = self._pixels(sample)
        return to_ask(prepared, sample.expected, sample.id, sample.source) if isinstance(sample, Ask) else prepared


class GateFilter(_Filter[Gate]):
    """Wraps a generator's sampling loop:

        for image in GateFilter(gate).take(generate, 1000, expected="glasses"):
            ...

    It yields the generator's own images, unchanged and on their device. The generator creates the next images while
    the gate decides.
    """

    _kind = Gate

    def take(
        self, source: Source, count: int | None = None, *, expected: Label | None = None
    ) -> Generator[Any, None, None]:
        """Yield the first `count` accepted images, or all of them if None, in the order of their generation.

        Args:
            source: the samples.
            count: number of images.
            expected: label that the generator is asked for.

        Raises:
            GaveUp: too many images are rejected, no sample could be judged, or the samples end too early.
            GateError: the gate is down, before a sample is generated, or cannot decide about further images.
        """
        run = self._begin(count, expected, source)
        return self._take(run, self._judge(run, source, expected))

    def sort(
        self, source: Source, count: int | None = None, *, expected: Label | None = None
    ) -> Generator[Sorted, None, None]:
        """Yield every image with its outcome, accepted or not, until `count` images are accepted; otherwise as `take`.

        `stats` counts both.
        """
        return self._sort(self._judge(self._begin(count, expected, source), source, expected))

    def regenerate(
        self,
        orders: Iterable[_Order],
        generate: Callable[[_Order, int], Any],
        *,
        max_attempts: int = 4,
        expected: Label | None = None,
    ) -> Generator[Regenerated[_Order], None, None]:
        """Generate an image for each order, and again while the gate rejects it, at most `max_attempts` times.

        Orders are yielded as they are finished, accepted or not: one that needs a second attempt follows later ones.

        Args:
            orders: such as seeds, latents or prompts; they may be endless.
            generate: returns the sample for an order and the number of the attempt, from 0 on; one image, or an `Ask`
                with the label of this order.
            max_attempts: most images generated for one order.
            expected: label that the generator is asked for.

        Raises:
            ValueError: `max_attempts` is below 1, or `generate` returned more or less than one image.
            GaveUp: too many images are rejected, over all orders.
            GateError: the gate is down, before an image is generated, or cannot decide about further images.
        """
        attempts = Attempts(orders, max_attempts)
        return self._regenerate(self._begin(None, expected), attempts, generate, expected)

    def _take(
        self, run: FilterRun, judged: Generator[tuple[_Candidate, Outcome], None, None]
    ) -> Generator[Any, None, None]:
        with closing(judged):
            for candidate, outcome in judged:
                if outcome.accepted:
                    yield candidate.checked_image()
        run.check_judged()

    def _sort(self, judged: Generator[tuple[_Candidate, Outcome], None, None]) -> Generator[Sorted, None, None]:
        with closing(judged):
            for candidate, outcome in judged:
                yield Sorted(candidate.checked_image(), outcome)

    def _judge(
        self, run: FilterRun, source: Source, expected: Label | None
    ) -> Generator[tuple[_Candidate, Outcome], None, None]:
        self._gate.check_ready()
        candidates = deque[_Candidate]()
        inputs = (image for item in iterate_samples(source) for image in self._inputs(item, candidates))
        with closing(self._gate.decide_stream(inputs, expected, ahead=self._ahead)) as outcomes:
            for outcome in outcomes:
                run.stats.count(outcome)
                yield candidates.popleft(), outcome
                if run.is_complete:
                    return
                run.check_limits()
        run.end()

    def _regenerate(
        self,
        run: FilterRun,
        attempts: Attempts[_Order],
        generate: Callable[[_Order, int], Any],
        expected: Label | None,
    ) -> Generator[Regenerated[_Order], None, None]:
        self._gate.check_ready()
        with attempts.noted():
            while not attempts.is_finished:
                candidates = deque[_Candidate]()
                inputs = (self._attempt(generate(*attempt), candidates) for attempt in attempts)
                with closing(self._gate.decide_stream(inputs, expected, ahead=self._ahead)) as outcomes:
                    for outcome in outcomes:
                        run.stats.count(outcome)
                        candidate, (order, number) = candidates.popleft(), attempts.judged(accepted=outcome.accepted)
                        if outcome.accepted or number == attempts.limit:
                            yield Regenerated(order, candidate.checked_image(), outcome, number)
                        run.check_limits()


class AsyncGateFilter(_Filter[AsyncGate]):
    """`GateFilter` for asyncio, with the same arguments and guarantees."""

    _kind = AsyncGate

    def take(
        self, source: AsyncSource, count: int | None = None, *, expected: Label | None = None
    ) -> AsyncGenerator[Any, None]:
        """Yield images as `GateFilter.take` does. Use `contextlib.aclosing` to leave the loop early."""
        run = self._begin(count, expected, source)
        return self._take(run, self._judge(run, source, expected))

    def sort(
        self, source: AsyncSource, count: int | None = None, *, expected: Label | None = None
    ) -> AsyncGenerator[Sorted, None]:
        """Yield every image with its outcome as `GateFilter.sort` does."""
        return self._sort(self._judge(self._begin(count, expected, source), source, expected))

    def regenerate(
        self,
        orders: Iterable[_Order],
        generate: Callable[[_Order, int], Any],
        *,
        max_attempts: int = 4,
        expected: Label | None = None,
    ) -> AsyncGenerator[Regenerated[_Order], None]:
        """Yield finished orders as `GateFilter.regenerate` does; `generate` may be asynchronous."""
        attempts = Attempts(orders, max_attempts)
        return self._regenerate(self._begin(None, expected), attempts, generate, expected)

    async def _take(
        self, run: FilterRun, judged: AsyncGenerator[tuple[_Candidate, Outcome], None]
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(judged):
            async for candidate, outcome in judged:
                if outcome.accepted:
                    yield candidate.checked_image()
        run.check_judged()

    async def _sort(self, judged: AsyncGenerator[tuple[_Candidate, Outcome], None]) -> AsyncGenerator[Sorted, None]:
        async with aclosing(judged):
            async for candidate, outcome in judged:
                yield Sorted(candidate.checked_image(), outcome)

    async def _judge(
        self, run: FilterRun, source: AsyncSource, expected: Label | None
    ) -> AsyncGenerator[tuple[_Candidate, Outcome], None]:
        await self._gate.check_ready()
        candidates = deque[_Candidate]()
        inputs = (image async for item in aiterate_samples(source) for image in self._inputs(item, candidates))
        async with aclosing(self._gate.decide_stream(inputs, expected, ahead=self._ahead)) as outcomes:
            async for outcome in outcomes:
                run.stats.count(outcome)
                yield candidates.popleft(), outcome
                if run.is_complete:
                    return
                run.check_limits()
        run.end()

    async def _regenerate(
        self,
        run: FilterRun,
        attempts: Attempts[_Order],
        generate: Callable[[_Order, int], Any],
        expected: Label | None,
    ) -> AsyncGenerator[Regenerated[_Order], None]:
        await self._gate.check_ready()
        with attempts.noted():
            while not attempts.is_finished:
                candidates = deque[_Candidate]()
                inputs = self._generated(attempts, generate, candidates)
                async with aclosing(self._gate.decide_stream(inputs, expected, ahead=self._ahead)) as outcomes:
                    async for outcome in outcomes:
                        run.stats.count(outcome)
                        candidate, (order, number) = candidates.popleft(), attempts.judged(accepted=outcome.accepted)
                        if outcome.accepted or number == attempts.limit:
                            yield Regenerated(order, candidate.checked_image(), outcome, number)
                        run.check_limits()

    async def _generated(
        self, attempts: Attempts[_Order], generate: Callable[[_Order, int], Any], candidates: deque[_Candidate]
    ) -> AsyncIterator[ImageInput]:
        for attempt in attempts:
            returned = generate(*attempt)
            yield self._attempt(await returned if inspect.isawaitable(returned) else returned, candidates)
