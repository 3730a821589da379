"""What every row is given, and how contenders take turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving.limits import InProcess
from bench.turns import alternate
from gate.cores import usable_cores


@dataclass(frozen=True, slots=True)
class Bench:
    """Pictures, the bound, and how long a turn and how many rounds there are."""

    pictures: Sequence[bytes]
    limit: InProcess
    graph: Path
    peers: Path
    """The folder of the peers' environments."""
    seconds: float = 5.0
    rounds: int = 3

    @property
    def warm_seconds(self) -> float:
        """How long a server is driven before it is measured."""
        return min(1.0, self.seconds)

    @property
    def cores(self) -> int:
        """Cores this process may use."""
        return usable_cores()

    def alternate(self, turns: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Every turn once a round, forth and back, so that a busy machine slows all of them; each one's values."""
        return alternate(turns, rounds=self.rounds)
