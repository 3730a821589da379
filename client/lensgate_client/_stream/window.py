"""The images between being asked about and being answered: packed into requests, and given back in their order."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lensgate_client._protocol.payloads import Block, File, Part, join
from lensgate_client.models import ImageFailed, Outcome


class Limits(Protocol):
    """How much is asked at a time."""

    @property
    def concurrency(self) -> int:
        """Requests under way."""
        ...

    @property
    def batch_size(self) -> int:
        """Most images in one request of pixels."""
        ...


class Ticket(Protocol):
    """What stands for a request on its way: a future or a task."""

    def done(self) -> bool:
        """Whether it has been answered, or failed."""
        ...

    def cancel(self) -> bool:
        """Nobody waits for it any more."""
        ...


_Ticket = TypeVar("_Ticket", bound=Ticket)


@dataclass(slots=True, eq=False)
class _Slot(Generic[_Ticket]):
    """One image's place in the order."""

    batch: "Batch[_Ticket] | None" = None
    outcome: Outcome | None = None


@dataclass(slots=True, eq=False)
class Batch(Generic[_Ticket]):
    """The images of one request; `ticket` is None before it is sent."""

    parts: list[Part] = field(default_factory=list)
    slots: list[_Slot[_Ticket]] = field(default_factory=list)
    ticket: _Ticket | None = None
    is_settled: bool = False

    @property
    def work(self) -> Part:
        """What is sent."""
        return join(self.parts)

    @property
    def sent(self) -> _Ticket:
        """The ticket; LookupError where it was not sent."""
        if self.ticket is None:
            raise LookupError("this request waits for more images")
        return self.ticket

    def send(self, ticket: _Ticket) -> None:
        """It is on its way; its pixels are the ticket's."""
        self.ticket = ticket
        self.parts.clear()

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """It is answered."""
        for slot, outcome in zip(self.slots, outcomes, strict=True):
            slot.outcome = outcome
        self.is_settled = True


class Window(Generic[_Ticket]):
    """Holds images from `add` to `pop`. Used by one thread, or on one event loop.

    Args:
        limits: the size of a request and how many are under way; it may change.
        ahead: requests that are complete and not yet popped to their end, at most; twice the concurrency if None.

    Raises:
        ValueError: that is none.
    """

    def __init__(self, limits: Limits, ahead: int | None = None) -> None:
        self._limits = limits
        self._ahead = 2 * limits.concurrency if ahead is None else ahead
        if self._ahead < 1:
            raise ValueError(f"ahead is 1 or more, not {ahead}")
        self._slots: deque[_Slot[_Ticket]] = deque()
        self._batches: deque[Batch[_Ticket]] = deque()
        self._packing: Batch[_Ticket] | None = None
        self._popped = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        """Whether no more should come before some go."""
        complete = len(self._batches) - (self._packing is not None)
        return complete >= self._ahead or len(self) >= self._ahead * self._limits.batch_size

    @property
    def is_idle(self) -> bool:
        """Whether every request that was sent has been answered."""
        return all(ticket.done() for ticket in self.tickets)

    @property
    def has_answer(self) -> bool:
        """Whether the first image can be popped without a wait."""
        batch = self.head
        return self.is_head_sent and (batch is None or batch.is_settled or batch.sent.done())

    @property
    def is_head_sent(self) -> bool:
        """Whether there is a first image, and nothing has to be sent for it any more."""
        return bool(self._slots) and (self._slots[0].batch is None or self._slots[0].batch.ticket is not None)

    @property
    def head(self) -> Batch[_Ticket] | None:
        """The request of the first image; None where it has none, or there is no image."""
        return self._slots[0].batch if self._slots else None

    @property
    def tickets(self) -> list[_Ticket]:
        """Of everything that was sent and not yet popped to its end."""
        return [batch.ticket for batch in self._batches if batch.ticket is not None]

    def add(self, part: Part | ImageFailed) -> list[Batch[_Ticket]]:
        """Take in images; returns the requests that are complete by now."""
        if isinstance(part, ImageFailed):
            self._slots.append(_Slot(outcome=part))
            return []
        if isinstance(part, File) or part.is_named:
            return [self._enter(Batch(), part)]
        return self._pack(part)

    def flush(self) -> list[Batch[_Ticket]]:
        """The request that waits for more images, if there is one."""
        packed, self._packing = self._packing, None
        return [] if packed is None else [packed]

    def pop(self) -> Outcome:
        """Take out the first image, whose outcome is known."""
        slot = self._slots.popleft()
        self._popped += 1
        if slot.outcome is None:
            raise LookupError("the first image has no outcome yet")
        if slot.batch is not None and slot.batch.slots[-1] is slot:
            self._batches.remove(slot.batch)
        return slot.outcome

    def explain(self, error: BaseException) -> None:
        """Note on an error that ends the stream which images have no outcome because of it."""
        first, last = self._popped + 1, self._popped + len(self._slots)
        error.add_note(f"lensgate: of the images given so far those from number {first} to {last} have no outcome")

    def _pack(self, block: Block) -> list[Batch[_Ticket]]:
        found = [] if self._packing is None or self._takes(self._packing, block) else self.flush()
        self._packing = self._enter(self._packing or Batch(), block)
        return found + (self.flush() if len(self._packing.slots) >= self._limits.batch_size else [])

    def _takes(self, batch: Batch[_Ticket], block: Block) -> bool:
        first = batch.parts[0]
        same = isinstance(first, Block) and first.pixels.shape[1:] == block.pixels.shape[1:]
        return same and len(batch.slots) + len(block.pixels) <= self._limits.batch_size

    def _enter(self, batch: Batch[_Ticket], part: Part) -> Batch[_Ticket]:
        if not batch.slots:
            self._batches.append(batch)
        slots = [_Slot(batch) for _ in part.names]
        batch.parts.append(part)
        batch.slots += slots
        self._slots += slots
        return batch
