"""Images in flight: packed into requests, and returned in their order."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lensgate_client._protocol.payloads import FilePayload, Payload, PixelPayload, join_payloads
from lensgate_client.models import ImageFailed, Outcome

NOTE = "lensgate: of the images passed so far"
"""Start of the note on an error that ends a stream."""


class WindowLimits(Protocol):
    """Limits of the requests in flight."""

    @property
    def concurrency(self) -> int:
        """Requests in flight at a time."""
        ...

    @property
    def batch_size(self) -> int:
        """Most images in one pixel request."""
        ...


class FutureLike(Protocol):
    """A future or task of a request."""

    def done(self) -> bool:
        """Return whether the request succeeded or failed."""
        ...

    def cancel(self) -> bool:
        """Discard the result."""
        ...


_Future = TypeVar("_Future", bound=FutureLike)


@dataclass(slots=True, eq=False)
class _Slot(Generic[_Future]):
    """Position of one image in the order."""

    batch: "RequestBatch[_Future] | None" = None
    outcome: Outcome | None = None


@dataclass(slots=True, eq=False)
class RequestBatch(Generic[_Future]):
    """The images of one request; it owns their payloads until it is sent."""

    payloads: list[Payload] = field(default_factory=list)
    slots: list[_Slot[_Future]] = field(default_factory=list)
    is_settled: bool = False
    _future: _Future | None = None

    @property
    def payload(self) -> Payload:
        """The payloads combined."""
        return join_payloads(self.payloads)

    @property
    def is_sent(self) -> bool:
        """Whether the request was sent."""
        return self._future is not None

    @property
    def future(self) -> _Future:
        """The future of the request; LookupError before it is sent."""
        if self._future is None:
            raise LookupError("this request waits for more images")
        return self._future

    def mark_sent(self, future: _Future) -> None:
        """Store the future of the request and release the payloads."""
        self._future = future
        self.payloads.clear()

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Store the outcomes of the images."""
        for slot, outcome in zip(self.slots, outcomes, strict=True):
            slot.outcome = outcome
        self.is_settled = True


class InFlightWindow(Generic[_Future]):
    """Holds images from `add` to `pop`. Not thread-safe.

    `taken` counts the images that the caller passed, for the note on an error.

    Args:
        limits: size and number of the requests; the values may change.
        ahead: most complete requests in the window; twice the concurrency if None.

    Raises:
        ValueError: `ahead` is less than 1.
    """

    def __init__(self, limits: WindowLimits, ahead: int | None = None) -> None:
        self._limits = limits
        self._ahead = 2 * limits.concurrency if ahead is None else ahead
        if self._ahead < 1:
            raise ValueError(f"ahead must be >= 1, not {ahead}")
        self._slots: deque[_Slot[_Future]] = deque()
        self._batches: deque[RequestBatch[_Future]] = deque()
        self._packing: RequestBatch[_Future] | None = None
        self._popped = 0
        self.taken = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        """Whether images must be popped before others are added."""
        complete = len(self._batches) - (self._packing is not None)
        return complete >= self._ahead or len(self) >= self._ahead * self._limits.batch_size

    @property
    def is_idle(self) -> bool:
        """Whether every sent request is done."""
        return all(future.done() for future in self.futures)

    @property
    def is_head_ready(self) -> bool:
        """Whether the first image can be popped without a wait."""
        batch = self.head
        return self.is_head_sent and (batch is None or batch.is_settled or batch.future.done())

    @property
    def is_head_sent(self) -> bool:
        """Whether there is a first image and its request, if it needs one, was sent."""
        return bool(self._slots) and (self._slots[0].batch is None or self._slots[0].batch.is_sent)

    @property
    def head(self) -> RequestBatch[_Future] | None:
        """The request of the first image; None if the window is empty or the image failed before sending."""
        return self._slots[0].batch if self._slots else None

    @property
    def futures(self) -> list[_Future]:
        """The futures of all sent requests in the window."""
        return [batch.future for batch in self._batches if batch.is_sent]

    def add(self, payload: Payload | ImageFailed) -> list[RequestBatch[_Future]]:
        """Add images; return the requests that are now complete."""
        if isinstance(payload, ImageFailed):
            self._slots.append(_Slot(outcome=payload))
            return []
        if isinstance(payload, FilePayload) or payload.has_own_id:
            return [self._append(RequestBatch(), payload)]
        return self._pack(payload)

    def flush(self) -> list[RequestBatch[_Future]]:
        """Return the request that waits for more images, if there is one."""
        packed, self._packing = self._packing, None
        return [] if packed is None else [packed]

    def pop(self) -> Outcome:
        """Remove the first image and return its outcome; LookupError if the outcome is unknown."""
        slot = self._slots.popleft()
        self._popped += 1
        if slot.outcome is None:
            raise LookupError("the first image has no outcome yet")
        if slot.batch is not None and slot.batch.slots[-1] is slot:
            self._batches.remove(slot.batch)
        return slot.outcome

    def add_note(self, error: BaseException) -> None:
        """Note on an error that ends the stream which images have no outcome."""
        if self._popped < self.taken:
            numbers = f"numbers {self._popped + 1} to {self.taken}"
            error.add_note(f"{NOTE}, {numbers} have no outcome")

    def _pack(self, payload: PixelPayload) -> list[RequestBatch[_Future]]:
        complete = [] if self._packing is None or self._has_room(self._packing, payload) else self.flush()
        self._packing = self._append(self._packing or RequestBatch(), payload)
        return complete + (self.flush() if len(self._packing.slots) >= self._limits.batch_size else [])

    def _has_room(self, batch: RequestBatch[_Future], payload: PixelPayload) -> bool:
        first = batch.payloads[0]
        is_alike = (
            isinstance(first, PixelPayload)
            and first.pixels.shape[1:] == payload.pixels.shape[1:]
            and first.source == payload.source
        )
        return is_alike and len(batch.slots) + len(payload.pixels) <= self._limits.batch_size

    def _append(self, batch: RequestBatch[_Future], payload: Payload) -> RequestBatch[_Future]:
        if not batch.slots:
            self._batches.append(batch)
        slots = [_Slot(batch) for _ in payload.image_ids]
        batch.payloads.append(payload)
        batch.slots += slots
        self._slots += slots
        return batch
