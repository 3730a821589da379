"""Reloads the workers one after the other, so that the others answer meanwhile."""

import logging
import time
from collections.abc import Iterable

from service.process.slot import Slot

log = logging.getLogger(__name__)


class RollingReload:
    """The workers that wait for their turn, and the one that reloads.

    Args:
        seconds: longest time for one worker before the next one begins.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: list[Slot] = []
        self._current: tuple[Slot, float] | None = None

    def begin(self, slots: Iterable[Slot]) -> None:
        """Let each of the workers that live now have a turn."""
        # One that is still starting may have read its files already.
        self._waiting = [slot for slot in slots if slot.is_alive]

    def cancel(self) -> None:
        """Let no further worker have a turn."""
        self._waiting = []

    def finish(self, slot: Slot) -> None:
        """Note that a worker has reloaded."""
        if self._current is not None and self._current[0] is slot:
            self._current = None

    def take(self) -> Slot | None:
        """Return the worker that is to reload now, if any."""
        if self._current is not None:
            slot, deadline = self._current
            if slot.is_ready and time.monotonic() < deadline:
                return None
            self._current = None
            if not slot.is_ready and self._waiting:
                # The new files may have ended it, and would end the others.
                self.cancel()
                log.error("worker %d ended while it reloaded: the rest waits for the next HUP", slot.number)
        following = next((slot for slot in self._waiting if slot.is_ready), None)
        if following is not None:
            self._waiting.remove(following)
            self._current = following, time.monotonic() + self._seconds
        return following
