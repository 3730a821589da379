"""Retries of work units that were lost with their worker."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bulk.errors import EngineError
from bulk.work_unit import WorkUnit

LIMIT = 3
"""Attempts per unit. A lost node costs each of its units one attempt; a unit that kills its worker uses up all."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Window:
    """Units that are run together. `alone`: each worker runs one at a time, since one of them may have killed it."""

    units: list[WorkUnit]
    alone: bool


class Attempts:
    """Hands out units in windows; lost units are handed out again, up to `LIMIT` attempts.

    `units` is consumed as windows are taken, so at most one window is held in memory.
    """

    def __init__(self, units: Iterator[WorkUnit]) -> None:
        self._units = units
        self._out: dict[str, WorkUnit] = {}
        self._again: deque[WorkUnit] = deque()
        self._losses: Counter[str] = Counter()
        self._given_up: list[WorkUnit] = []

    def take(self, count: int) -> Window:
        """Return the next window of at most `count` units: new units first, then lost ones. Empty when all are done."""
        window = Window(list(islice(self._units, count)), alone=False)
        if not window.units:
            window = Window([self._again.popleft() for _ in range(min(count, len(self._again)))], alone=True)
        self._out = {unit.slot: unit for unit in window.units}
        return window

    def finish(self, slot: str) -> bool:
        """Record a finished unit of this window. Return False for a duplicate result, which must be ignored."""
        return self._out.pop(slot, None) is not None

    def settle(self) -> list[WorkUnit]:
        """End the window; return the units that were lost."""
        lost, self._out = list(self._out.values()), {}
        for unit in lost:
            self._losses[unit.slot] += 1
            (self._given_up if self._losses[unit.slot] >= LIMIT else self._again).append(unit)
        return lost

    def check(self) -> None:
        """Raise if a unit was lost in all its attempts.

        Raises:
            EngineError: names the first of them.
        """
        if not self._given_up:
            return
        names = ", ".join(map(describe_unit, self._given_up[:_NAMED]))
        rest = len(self._given_up) - _NAMED
        raise EngineError(
            f"the worker died in all {LIMIT} attempts at {names}{f' and {rest} more' if rest > 0 else ''}; "
            "all other files are done. The usual cause is lack of memory, see Ray's logs; "
            "run the same command again to retry only these"
        )


def describe_unit(unit: WorkUnit) -> str:
    """Return a readable name of a unit: its file, or the first of its files."""
    first = unit.files[0].title if unit.files else unit.slot
    return first if len(unit.files) <= 1 else f"{first} and the {len(unit.files) - 1} files after it"
