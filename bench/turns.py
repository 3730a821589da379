"""Run contenders in turns, so that a busy machine slows all equally."""

from collections.abc import Callable, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")


def alternate(turns: Mapping[str, Callable[[], _Value]], *, rounds: int) -> dict[str, list[_Value]]:
    """Run every turn once per round, in alternating order; return the values of each by round."""
    results: dict[str, list[_Value]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(list(turns)):
            results[name].append(turns[name]())
    return results
