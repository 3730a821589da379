"""Rows of figures compared with their aims: as a table, as CSV and as a plot."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving.aims import AIMS, Aim


@dataclass(frozen=True, slots=True)
class RoundValues:
    """One thing measured in every round."""

    name: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """Median of the rounds, from which ratios are computed."""
        return statistics.median(self.values)

    def line(self) -> str:
        """Format as a line of the report."""
        rounds = " ".join(f"{value:.4g}" for value in self.values)
        return f"{self.name:52} {self.median:9.4g} {self.unit:10} [{rounds}]"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The figure of one of `AIMS`; None if it could not be measured; `notes` holds the reason."""

    number: int
    figure: float | None
    measures: Sequence[RoundValues] = ()
    notes: Sequence[str] = ()
    fault: str = ""
    """A fault that misses the aim regardless of the figure."""

    @property
    def aim(self) -> Aim:
        """The aim of the figure."""
        return AIMS[self.number]

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches the aim."""
        return self.figure is not None and not self.fault and self.aim.is_met(self.figure)

    def lines(self) -> list[str]:
        """Format as lines of the report: the figure with its aim, then its measures and notes."""
        figure = "-" if self.figure is None else f"{self.figure:.3g} {self.aim.unit}".strip()
        notes = [self.fault, *self.notes] if self.fault else self.notes
        return [
            f"{self.number:3}  {self.aim.what:56} {figure:>10}  {self.aim!s:>8}  {'yes' if self.is_met else 'NO'}",
            *(f"       {measure.line()}" for measure in self.measures),
            *(f"       {note}" for note in notes),
        ]


def write_csv(rows: Sequence[ReportRow], file: Path) -> None:
    """Write a line for each figure with its aim, and one for each measure with its rounds."""
    with file.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(["row", "what", "unit", "value", "aim", "met", "rounds"])
        for row in rows:
            figure = "" if row.figure is None else f"{row.figure:.6g}"
            writer.writerow([row.number, row.aim.what, row.aim.unit, figure, str(row.aim), row.is_met, ""])
            for measure in row.measures:
                rounds = " ".join(f"{value:.6g}" for value in measure.values)
                writer.writerow([row.number, measure.name, measure.unit, f"{measure.median:.6g}", "", "", rounds])


def draw(rows: Sequence[ReportRow], title: str, file: Path) -> None:
    """Plot each figure relative to its aim, and the images/s behind the ratios, with their rounds."""
    # The import takes a second, and the test of the table does not need it.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    rates = {f"{row.number}: {rate.name}": rate for row in rows for rate in row.measures if rate.unit == "images/s"}
    height = 1.5 + 0.24 * max(len(rows), len(rates))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(15, height), width_ratios=(1, 1.2))
    names = [f"{row.number}: {row.aim.what}" for row in rows]
    reached = [0.0 if row.figure is None else row.aim.reach(row.figure) for row in rows]
    left.barh(names, reached, color=["#4477aa" if row.is_met else "#cc6677" for row in rows])
    left.axvline(1.0, color="black", linewidth=1)
    left.set(xlabel="figure / aim (aim / figure if less is better)")
    colours = ["#4477aa" if "Lensgate" in name else "#bbbbbb" for name in rates]
    right.barh(list(rates), [rate.median for rate in rates.values()], color=colours)
    for place, rate in enumerate(rates.values()):
        right.plot(rate.values, [place] * len(rate.values), "k.", markersize=4)
    right.set(xscale="log", xlabel="images/s, median and rounds")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=7)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
