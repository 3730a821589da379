"""How a balancer picks a replica: each in turn, the fewest open connections, or the better of two at random."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

OUT = 1_000_000
"""A replica that is left out is shown with so many connections more than it has."""


class Balancer(Protocol):
    """Picks a replica by the connections that each has open; one that is left out only where all are."""

    def pick(self, connections: Sequence[int]) -> int:
        """Its place."""
        ...


class RoundRobin:
    """Each in turn."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, connections: Sequence[int]) -> int:
        """The next that is not left out."""
        for _ in connections:
            self._last = (self._last + 1) % len(connections)
            if connections[self._last] < OUT:
                break
        return self._last


class LeastConnections:
    """The one with the fewest, and of several of them each in turn, as nginx does it."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, connections: Sequence[int]) -> int:
        """The next of those with the fewest."""
        fewest = min(connections)
        try:
            self._last = connections.index(fewest, self._last + 1)
        except ValueError:
            self._last = connections.index(fewest)
        return self._last


class TwoChoices:
    """Of two that are drawn the one with fewer: a balancer need not know of all of them."""

    def __init__(self) -> None:
        self._rng = random.Random(1)

    def pick(self, connections: Sequence[int]) -> int:
        """The better of two different ones; of all, where both are left out."""
        count = len(connections)
        first = int(self._rng.random() * count)
        second = int(self._rng.random() * (count - 1))
        second += second >= first
        best = first if count == 1 or connections[first] <= connections[second] else second
        return best if connections[best] < OUT else connections.index(min(connections))


BALANCERS: Mapping[str, Callable[[], Balancer]] = {
    "round robin": RoundRobin,
    "least connections": LeastConnections,
    "two choices": TwoChoices,
}
