"""Inputs of every row, and the turns of the contenders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving.contenders import PEERS
from bench.serving.limits import InProcess
from bench.turns import alternate
from gate.cores import usable_cores


@dataclass(frozen=True, slots=True)
class Bench:
    """Images, the limit without a server, seconds per turn and number of rounds."""

    pictures: Sequence[bytes]
    limit: InProcess
    graph: Path
    peers: Path
    """The folder of the peers' environments."""
    names: Sequence[str] = PEERS
    """The peers to measure."""
    seconds: float = 5.0
    rounds: int = 3

    @property
    def warm_seconds(self) -> float:
        """Seconds of warm-up load before a measurement."""
        return min(1.0, self.seconds)

    @property
    def cores(self) -> int:
        """Cores this process may use."""
        return usable_cores()

    def alternate(self, turns: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Run every turn once per round, in alternating order, and return the values of each."""
        return alternate(turns, rounds=self.rounds)
