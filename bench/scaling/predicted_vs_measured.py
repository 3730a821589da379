"""Compare the simulated result of a plan with the measured one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.scaling.arrivals import Arrival
from bench.scaling.balancers import BALANCERS
from bench.scaling.pair import REPLICAS, Expense
from bench.scaling.replica import ANSWERED
from bench.scaling.scenarios import percentile
from bench.scaling.simulation import Cluster, simulate
from bench.scaling.tables import number
from bench.serving.generator import arrivals
from bench.serving.openloop import LoadPlan, LoadResult

MAX_OFF = {"goodput": 0.15, "p50": 0.25, "p99": 0.25}
"""Tolerance of each figure, relative to the measured value."""


@dataclass(frozen=True, slots=True)
class ImageCost:
    """Size of a file in bytes, and core milliseconds to decode it."""

    size: int
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Images/s answered 200 while images were sent, and latencies in milliseconds of all 200s."""

    goodput: float
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: float, *, in_time: int, milliseconds: Sequence[float]) -> "Figures":
        """Return the figures of a run of so many seconds."""
        ordered = sorted(milliseconds)
        return cls(in_time / seconds, percentile(ordered, 0.5), percentile(ordered, 0.99))

    @classmethod
    def of_result(cls, result: LoadResult) -> "Figures":
        """Return the figures of a measured plan."""
        return cls.of(result.seconds, in_time=result.in_time, milliseconds=result.latencies)


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One run: the balancer's method, the load relative to the replicas' capacity, and both figures."""

    method: str
    load: float
    rate: float
    predicted: Figures
    measured: Figures
    others: float
    """Share of all cores used by other processes."""

    def off(self, name: str) -> float:
        """Relative error of the prediction; positive if it is too high."""
        measured: float = getattr(self.measured, name)
        return getattr(self.predicted, name) / measured - 1 if measured else math.inf

    @property
    def agrees(self) -> bool:
        """Whether all figures are within tolerance."""
        return all(abs(self.off(name)) <= most for name, most in MAX_OFF.items())

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        figures = [
            f"{number(getattr(self.predicted, name))} / {number(getattr(self.measured, name))} ({self.off(name):+.0%})"
            for name in MAX_OFF
        ]
        return [self.method, f"{self.load:g}", number(self.rate), *figures]


def capacity(expense: Expense, *, is_alone: bool) -> float:
    """Capacity of the replicas in images/s, including other work per image on their cores."""
    return REPLICAS * 1e3 / (expense.replica + (0.0 if is_alone else expense.between))


def predict(plan: LoadPlan, pictures: Sequence[ImageCost], expense: Expense, *, method: str, is_alone: bool) -> Figures:
    """Simulate a plan that sends these images in turn."""
    rest = max(0.0, expense.replica - fmean(picture.decode_ms for picture in pictures))
    speed = 1.0 if is_alone else 1 - plan.rate * expense.between / 1e3 / REPLICAS
    sent = [
        Arrival(due, pictures[number % len(pictures)].size, (pictures[number % len(pictures)].decode_ms + rest) / 1e3)
        for number, due in enumerate(arrivals(plan))
    ]
    answers = simulate(Cluster([speed] * REPLICAS, cores=1), BALANCERS[method](), sent)
    # Nginx and the generator process each image before its replica.
    later = expense.between / 1e3
    answered = [(one.sent + one.seconds + later, one.seconds + later) for one in answers if one.status == ANSWERED]
    return Figures.of(
        plan.seconds,
        in_time=sum(ended <= plan.seconds for ended, _ in answered),
        milliseconds=[seconds * 1e3 for _, seconds in answered],
    )
