"""Recipes: inputs that say which valid file to build and which single field to change, so that its answer is known."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

MARK = b"recipe\0"
"""Begins every recipe; other inputs are files as they stand."""

_BYTES = 32
_Option = TypeVar("_Option")


class Draws:
    """Numbers drawn from the bytes of an input; 0 once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def byte(self) -> int:
        """Draw 0 to 255."""
        return next(self._data, 0)

    def pick(self, options: Sequence[_Option]) -> _Option:
        """Draw one of at most 256 options; the first one from a 0."""
        return options[self.byte() % len(options)]

    def flaw(self, flaws: Sequence[str]) -> str:
        """Draw the field to change; "" in half of the recipes."""
        return self.pick(flaws) if self.byte() % 2 else ""

    def size(self) -> int:
        """Draw 1 to 16,383."""
        return 1 + (self.byte() | self.byte() << 8) % 16_383


def recipe_in(data: bytes) -> Draws | None:
    """Return the draws of a recipe; None for another input."""
    return Draws(data[len(MARK) :]) if data.startswith(MARK) else None


def recipes(count: int) -> Iterator[bytes]:
    """Yield recipes that differ: the plainest one, then random ones, the same in every run."""
    yield MARK
    chosen = random.Random(7)
    yield from (MARK + chosen.randbytes(_BYTES) for _ in range(count - 1))
