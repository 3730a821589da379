"""Charts that set repeated experiments beside the figures of a paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gate.card import Interval
from training.figures.style import (
    GLASSES,
    GOOD,
    INK,
    MUTED,
    NO_GLASSES,
    RULE,
    TICKS,
    WIDTH,
    axis_title,
    reach_of,
    styled,
)

_PAPER = "paper, one run"
_SERIES = ((NO_GLASSES, "o"), (GLASSES, "s"), (GOOD, "^"))


@styled
def repeated_chart(
    rows: Sequence[str],
    series: Mapping[str, Mapping[str, Interval]],
    *,
    paper: Mapping[str, float],
    subject: str,
    quantity: str,
    floor: tuple[str, float],
) -> Figure:
    """Plot each series, a value with its interval per row, beside the paper's values and the floor of the noise.

    Args:
        rows: names of all rows, from the top.
        series: intervals by row, by the name of the series.
        paper: the paper's value by row.
        subject: the meaning of the rows.
        quantity: the quantity of all values.
        floor: name and value of a vertical line.
    """
    names = [*series, _PAPER, floor[0]]
    columns = 2 if max(map(len, names)) <= 26 else 1
    # The legend is below the axes and must not take their height.
    figure = Figure((WIDTH, 0.9 + 0.5 * len(rows) + 0.23 * -(-len(names) // columns)), layout="constrained")
    axes = figure.subplots()
    heights = {row: index for index, row in enumerate(rows)}
    *offsets, last = np.linspace(-0.24, 0.24, len(series) + 1)
    for (name, intervals), offset, (colour, marker) in zip(series.items(), offsets, _SERIES, strict=False):
        places = [heights[row] + offset for row in intervals]
        _plot_intervals(axes, list(intervals.values()), places, label=name, color=colour, marker=marker)
    axes.plot(list(paper.values()), [heights[row] + last for row in paper], "D", color=INK, markersize=5, label=_PAPER)
    axes.axvline(floor[1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=floor[0])
    _name_rows(axes, rows)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=axis_title(quantity), ylabel=subject)
    axes.xaxis.set_major_locator(MaxNLocator(**TICKS))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=columns)
    return figure


def _plot_intervals(
    axes: Axes, intervals: Sequence[Interval], heights: Sequence[float], *, label: str, color: str, marker: str
) -> None:
    axes.errorbar(
        [each.value for each in intervals],
        heights,
        xerr=reach_of(intervals),
        fmt=marker,
        markersize=5,
        color=color,
        ecolor=color,
        capsize=2.5,
        elinewidth=1.2,
        label=label,
    )


def _name_rows(axes: Axes, rows: Sequence[str]) -> None:
    """Name the rows on the vertical axis, and separate them by lines."""
    for edge in range(len(rows) - 1):
        axes.axhline(edge + 0.5, color=RULE, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [row.replace(", ", ",\n") for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(False, axis="y")
