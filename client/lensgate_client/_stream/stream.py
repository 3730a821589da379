"""Fills a window and empties it in turns, in the caller's thread, while other threads judge."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future

from lensgate_client._protocol.payloads import Part
from lensgate_client._stream.sources import Kept
from lensgate_client._stream.window import Batch, Window
from lensgate_client.models import ImageFailed, Outcome

_Ticket = Future[list[Outcome]]


class Stream:
    """Judges parts as they come; used once.

    Args:
        window: holds the images meanwhile.
        judge: begins to judge one part.
        is_eager: whether a request that is not full is sent as soon as no other is under way.
    """

    def __init__(self, window: Window[_Ticket], judge: Callable[[Part], _Ticket], *, is_eager: bool) -> None:
        self._window = window
        self._judge = judge
        self._is_eager = is_eager

    def run(self, parts: Iterable[Part | ImageFailed]) -> Generator[Outcome, None, None]:
        """The outcomes in order. What ends `parts` too early is raised after all that came before it."""
        window, parts = self._window, Kept(parts)
        try:
            for part in parts:
                self._send(window.add(part))
                if self._is_eager and window.is_idle:
                    self._send(window.flush())
                while window.is_full or window.has_answer:
                    yield self._next()
            self._send(window.flush())
            while window:
                yield self._next()
            parts.check()
        finally:
            for ticket in window.tickets:
                ticket.cancel()

    def _next(self) -> Outcome:
        if not self._window.is_head_sent:
            self._send(self._window.flush())
        batch = self._window.head
        if batch is not None and not batch.is_settled:
            try:
                batch.settle(batch.sent.result())
            except Exception as error:
                self._window.explain(error)
                raise
        return self._window.pop()

    def _send(self, batches: Iterable[Batch[_Ticket]]) -> None:
        for batch in batches:
            batch.send(self._judge(batch.work))
