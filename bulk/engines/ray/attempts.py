"""Attempts: which parts are to be run next, and how often each was lost with its worker."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bulk.errors import EngineError
from bulk.work_unit import WorkUnit

LIMIT = 3
"""How often a part is begun. A node that goes takes one attempt from what it ran; a part that kills takes them all."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Window:
    """Parts that are run together. `alone`: each in a worker that runs no other, for one of them may have killed it."""

    units: list[WorkUnit]
    alone: bool


class Attempts:
    """Hands out units in windows; what does not come back of one is handed out again, `LIMIT` times in all.

    `units` is pulled from as windows are taken, so that no more than a window of them is held.
    """

    def __init__(self, units: Iterator[WorkUnit]) -> None:
        self._units = units
        self._out: dict[str, WorkUnit] = {}
        self._again: deque[WorkUnit] = deque()
        self._losses: Counter[str] = Counter()
        self._given_up: list[WorkUnit] = []

    def take(self, count: int) -> Window:
        """The next window, of `count` parts at most: what is new, and then what was lost. Empty when all is done."""
        window = Window(list(islice(self._units, count)), alone=False)
        if not window.units:
            window = Window([self._again.popleft() for _ in range(min(count, len(self._again)))], alone=True)
        self._out = {unit.slot: unit for unit in window.units}
        return window

    def finish(self, slot: str) -> bool:
        """A part of this window came back. False where it had come back before, and counts for nothing."""
        return self._out.pop(slot, None) is not None

    def settle(self) -> list[WorkUnit]:
        """The window is over: what did not come back was lost, and is returned."""
        lost, self._out = list(self._out.values()), {}
        for unit in lost:
            self._losses[unit.slot] += 1
            (self._given_up if self._losses[unit.slot] >= LIMIT else self._again).append(unit)
        return lost

    def check(self) -> None:
        """Raise where a part was lost for good.

        Raises:
            EngineError: names the first of them.
        """
        if not self._given_up:
            return
        names = ", ".join(map(describe, self._given_up[:_NAMED]))
        rest = len(self._given_up) - _NAMED
        raise EngineError(
            f"the worker died each of the {LIMIT} times it worked on {names}{f' and {rest} more' if rest > 0 else ''}; "
            "everything else is done. Out of memory is the usual cause, and Ray's logs say more; "
            "run the same command again to try these alone"
        )


def describe(unit: WorkUnit) -> str:
    """A part as a person would look for it: its file, or the first of its files."""
    first = unit.files[0].title if unit.files else unit.slot
    return first if len(unit.files) <= 1 else f"{first} and the {len(unit.files) - 1} files after it"
