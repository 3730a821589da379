"""The attempts of orders: which image to generate next, and what becomes of an order when its image is judged."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar

from lensgate_client._pixels.arguments import is_whole
from lensgate_client._stream.window import NOTE
from lensgate_client.errors import quoted, truncated

_Order = TypeVar("_Order")

_MAX_QUOTED = 100


class Attempts(Generic[_Order]):
    """Iterates over pairs of an order and the number of its attempt, from 0 on; rejected orders come before new ones.

    An iteration ends while the last images are still being judged. Iterate again until it `is_finished`.

    Args:
        orders: the orders; they may be endless.
        limit: most attempts of one order.
    """

    def __init__(self, orders: Iterable[_Order], limit: int) -> None:
        if not is_whole(limit):
            raise ValueError(f"max_attempts must be an integer >= 1, not {quoted(limit)}")
        self.limit = int(limit)
        self._orders = iter(orders)
        self._has_new = True
        self._again = deque[tuple[_Order, int]]()
        self._unjudged = deque[tuple[_Order, int]]()

    @property
    def is_finished(self) -> bool:
        """Whether no order is left to generate an image for."""
        return not (self._has_new or self._again)

    def __iter__(self) -> Iterator[tuple[_Order, int]]:
        while True:
            if self._again:
                attempt = self._again.popleft()
            else:
                try:
                    attempt = (next(self._orders), 0)
                except StopIteration:
                    self._has_new = False
                    return
            self._unjudged.append(attempt)
            yield attempt

    def judged(self, *, accepted: bool) -> tuple[_Order, int]:
        """Handle the outcome of the oldest image; return its order and the number of attempts so far."""
        order, number = self._unjudged.popleft()
        if not accepted and number + 1 < self.limit:
            self._again.append((order, number + 1))
        return order, number + 1

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note on an error of the block which orders were begun and not finished."""
        try:
            yield
        except Exception as error:
            # The stream's note numbers the images of one iteration, which the caller cannot match with orders.
            notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(NOTE)]
            begun = [order for order, _ in (*self._unjudged, *self._again)]
            if begun:
                text = ", ".join(quoted(order) for order in islice(begun, _MAX_QUOTED))
                notes.append(f"lensgate: orders that were begun and not finished ({len(begun):,}): {truncated(text)}")
            error.__notes__ = notes
            raise
