"""Run contenders in turns, so that a busy machine slows all equally."""

from collections.abc import Callable, Mapping
from typing import TypeVar

_Found = TypeVar("_Found")


def alternate(turns: Mapping[str, Callable[[], _Found]], *, rounds: int) -> dict[str, list[_Found]]:
    """Run every turn once per round, in alternating order; return the values of each by round."""
    found: dict[str, list[_Found]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(list(turns)):
            found[name].append(turns[name]())
    return found
