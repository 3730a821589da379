"""The aims of the service: every row of the table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure's name, its unit and its target: a minimum, or with `at_most` a maximum."""

    what: str
    unit: str
    value: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.value:g}"

    def is_met(self, figure: float) -> bool:
        """Whether `figure` meets the aim."""
        return figure <= self.value if self.at_most else figure >= self.value

    def reach(self, figure: float) -> float:
        """Ratio of `figure` to the aim, 1 if just met; a zero figure against a maximum gives 2."""
        if not self.at_most:
            return figure / self.value
        return self.value / max(figure, self.value / 2)


AIMS = {
    1: Aim("PNG as a share of in-process on all cores", "", 0.85),
    2: Aim("PNG against the best peer, each with its usual decoder", "x", 2.5),
    3: Aim("PNG against the best peer, which decodes as we do", "x", 1.3),
    4: Aim("JPEG against the best peer, each with its usual decoder", "x", 3.0),
    5: Aim("V2 image [32,S,S,3] as a share of bare session.run", "", 0.8),
    6: Aim("V2 image [1,S,S,3] as a share of a bare endpoint", "", 0.6),
    7: Aim("unloaded PNG: median latency less the in-process time", "ms", 3.0, at_most=True),
    8: Aim("p99 at 70 % of the peak over the unloaded median", "x", 4.0, at_most=True),
    9: Aim("4 x capacity: answered 200 as a share of the peak", "", 0.9),
    10: Aim("most resident memory during row 9", "MB", 400.0, at_most=True),
    11: Aim("exec to ready", "s", 2.0, at_most=True),
}
