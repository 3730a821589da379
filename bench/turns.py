"""Turns: what is compared is run in turns, so that a busy machine slows all of it alike."""

from collections.abc import Callable, Mapping
from typing import TypeVar

_Found = TypeVar("_Found")


def alternate(turns: Mapping[str, Callable[[], _Found]], *, rounds: int) -> dict[str, list[_Found]]:
    """Every turn once a round, forth and back; what each gave, round by round."""
    found: dict[str, list[_Found]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(list(turns)):
            found[name].append(turns[name]())
    return found
