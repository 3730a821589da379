"""Balancing methods: round robin, least connections, and the better of two random choices."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

OUT = 1_000_000
"""Added to the connections of an excluded replica."""


class Balancer(Protocol):
    """Pick a replica by its open connections; an excluded one only if all are excluded."""

    def pick(self, connections: Sequence[int]) -> int:
        """Return the index of the chosen replica."""
        ...


class RoundRobin:
    """Round robin."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, connections: Sequence[int]) -> int:
        """Return the next replica that is not excluded."""
        for _ in connections:
            self._last = (self._last + 1) % len(connections)
            if connections[self._last] < OUT:
                break
        return self._last


class LeastConnections:
    """Least connections, with ties in round-robin order, as in nginx."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, connections: Sequence[int]) -> int:
        """Return the next replica among those with the fewest connections."""
        fewest = min(connections)
        try:
            self._last = connections.index(fewest, self._last + 1)
        except ValueError:
            self._last = connections.index(fewest)
        return self._last


class TwoChoices:
    """The better of two random replicas, which does not need the state of all."""

    def __init__(self) -> None:
        self._rng = random.Random(1)

    def pick(self, connections: Sequence[int]) -> int:
        """Return the better of two different replicas; of all replicas if both are excluded."""
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
