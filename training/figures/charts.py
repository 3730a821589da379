"""Charts of measurements: curves, histograms and intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from common.terminal import percent_up
from gate import Band
from gate.card import Interval
from training.evaluation.calibrate import ReliabilityBin
from training.evaluation.selective_risk import RiskCoverage
from training.figures.style import (
    GLASSES,
    GOOD,
    INK,
    MUTED,
    NO_GLASSES,
    RULE,
    SHADE,
    SPARE,
    TICKS,
    WIDTH,
    axis_title,
    reach_of,
    styled,
)

BINS = 20

Numbers = NDArray[np.floating]
Counts = NDArray[np.int64]

_LABELS = ("glasses", "no\nglasses")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A named point on the risk-coverage curve; `bound` is the certified upper bound of its risk."""

    name: str
    coverage: float
    risk: float
    bound: float | None = None


@styled
def curve(history: Mapping[str, Sequence[float]], metric: str, *, kept: int) -> Figure:
    """Plot `accuracy` or `loss` by epoch on both splits, and mark the selected epoch (from 1)."""
    figure = Figure((WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(history[metric]) + 1)
    few = "o" if len(epochs) < 15 else ""
    axes.plot(epochs, history[metric], color=MUTED, marker=few, markersize=3.5, label="training")
    validation = history[f"val_{metric}"]
    axes.plot(epochs, validation, color=NO_GLASSES, marker=few, markersize=3.5, label="validation")
    axes.axvline(kept, color=GLASSES, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(
        [kept], [validation[kept - 1]], "o", color=GLASSES, label=f"selected epoch {kept}: {validation[kept - 1]:.3f}"
    )
    axes.set(title=f"{metric.capitalize()} by epoch", xlabel="epoch", ylabel=axis_title(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == "loss":
        axes.set_ylim(bottom=0)
    _legend(figure, axes)
    return figure


@styled
def interval_chart(
    models: Mapping[str, Interval], *, subject: str, quantity: str = "accuracy", baseline: float | None = None
) -> Figure:
    """Plot one row per model or other subject, a value with its interval; `baseline` is that of the majority label."""
    figure = Figure((WIDTH, 1.3 + 0.36 * len(models)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(models))
    values, reach = [each.value for each in models.values()], reach_of(list(models.values()))
    axes.errorbar(values, rows, xerr=reach, fmt="o", color=NO_GLASSES, ecolor=MUTED, capsize=3, elinewidth=1.4)
    if baseline is not None:
        axes.axvline(baseline, color=GLASSES, linestyle=(0, (4, 3)), linewidth=1, label="majority label")
        _legend(figure, axes)
    axes.set_yticks(rows, list(models))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(False, axis="y")
    axes.invert_yaxis()
    axes.set(title=f"{quantity.capitalize()} with 95 % intervals", xlabel=axis_title(quantity), ylabel=subject)
    axes.xaxis.set_major_locator(MaxNLocator(**TICKS))
    axes.margins(y=0.5 / max(1, len(models)))
    return figure


@styled
def reliability_diagram(title: str, bins: Sequence[ReliabilityBin]) -> Figure:
    """Plot observed share against predicted probability, with exact 95 % intervals."""
    figure = Figure((WIDTH, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GOOD, linewidth=1.2, linestyle=(0, (4, 3)), label="perfect calibration")
    said = [each.mean_probability for each in bins]
    observed = [each.observed for each in bins]
    seen, reach = [share.value for share in observed], reach_of(observed)
    name = "images of a bin, with interval"
    axes.errorbar(said, seen, yerr=reach, fmt="o", color=NO_GLASSES, capsize=2.5, elinewidth=1.1, label=name)
    axes.set(title=title, xlabel="predicted probability of glasses", ylabel="observed share of glasses")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    _legend(figure, axes)
    return figure


@styled
def risk_coverage_chart(
    split: str, risk_curve: RiskCoverage, marks: Sequence[CurvePoint], *, target: float | None = None
) -> Figure:
    """Plot the error among the accepted by the share accepted on a split, with named bands and the targeted risk."""
    figure = Figure((WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.step(risk_curve.coverage, risk_curve.risk, where="pre", color=NO_GLASSES, label="every symmetric band")
    # Hollow and larger, because bands may accept the same images.
    looks = (("o", GLASSES, 7, GLASSES), ("s", INK, 11, "none"), ("D", GOOD, 14, "none"), ("^", SPARE, 17, "none"))
    for mark, (shape, colour, size, fill) in zip(marks, looks, strict=False):
        _mark(axes, mark, colour, marker=shape, markersize=size, markerfacecolor=fill)
    if target is not None:
        axes.axhline(
            target, color=GLASSES, linewidth=1, linestyle=(0, (4, 3)), label=f"target: at most {100 * target:g} %"
        )
    top = max([*risk_curve.risk, *(mark.bound or mark.risk for mark in marks), target or 0.0])
    axes.set(title=f"Risk by coverage, {split}")
    axes.set(xlabel="coverage (share accepted)", ylabel="risk (share of wrong labels)")
    axes.set(xlim=(_leftmost(risk_curve, marks), 1.003), ylim=(0, max(1.15 * top, 0.01)))
    axes.xaxis.set_major_locator(MaxNLocator(**TICKS))
    axes.xaxis.set_major_formatter(_percent)
    axes.yaxis.set_major_formatter(_percent)
    _legend(figure, axes)
    return figure


@styled
def confusion_matrix(panels: Mapping[str, Counts]) -> Figure:
    """Plot counts `[2, 2]`, rows by label and columns by predicted label, glasses first, in one panel per name."""
    figure = Figure((WIDTH, 2.6), layout="constrained")
    (parts,) = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (name, counts) in zip(parts, panels.items(), strict=True):
        _draw_counts(axes, counts)
        axes.set(title=name, xlabel="predicted label", xlim=(0, 2), ylim=(2, 0), aspect="equal")
        axes.grid(False)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
        axes.set_xticks((0.5, 1.5), _LABELS)
        axes.set_yticks((0.5, 1.5), _LABELS)
    parts[0].set_ylabel("label in the data set")
    return figure


@styled
def score_histogram(probability: Numbers, labels: Numbers, band: Band) -> Figure:
    """Plot histograms of scores `[N]` for images with glasses (top) and without (bottom), with the band."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, label, name, colour in ((above, 1, "glasses", GLASSES), (below, 0, "no glasses", NO_GLASSES)):
        scores = probability[labels == label]
        axes.axvspan(band.low, band.high, color=SHADE, linewidth=0, label=f"band {band.low:.10g} to {band.high:.10g}")
        axes.hist(scores, BINS, range=(0, 1), color=colour, rwidth=0.9, label=f"{len(scores)} with {name}")
        axes.set(ylabel="images")
    # After both histograms: an earlier limit would end the shared axis at the first one's tallest bar.
    above.set_ylim(0.6, 1.3 * max(1.0, *(bar.get_height() for axes in (above, below) for bar in _bars(axes))))
    for axes in (above, below):
        axes.set_yscale("log", nonpositive="clip")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    above.set_title("Scores by label (logarithmic counts)")
    below.set_xlabel("probability of glasses")
    _legend(figure, above, below)
    return figure


@styled
def novelty_histogram(good: Numbers, strange: Numbers | None, threshold: float) -> Figure:
    """Plot histograms of the novelty `[N]` of portraits and, if given, of outliers."""
    figure = Figure((WIDTH, 3.1), layout="constrained")
    axes = figure.subplots()
    parts = [(good, "portraits", NO_GLASSES)] + ([(strange, "outliers", GLASSES)] if strange is not None else [])
    everything = np.concatenate([values for values, _, _ in parts])
    # Clip the most extreme outliers, which would compress all other values into one bar.
    low, high = min(threshold, everything.min()), max(threshold, np.quantile(everything, 0.98))
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        # Bars of equal values would have no width.
        high = low + max(1.0, abs(low))
    edges = np.linspace(low, high + 0.1 * (high - low), 2 * BINS + 1)
    for values, name, colour in parts:
        share = np.full(len(values), 1 / len(values))
        inside = np.clip(values, edges[0], edges[-1])
        axes.hist(inside, edges.tolist(), weights=share, color=colour, alpha=0.65, label=f"{len(values)} {name}")
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"threshold {threshold:.3g}")
    axes.set(title="Novelty", xlabel="novelty (the last bar includes larger values)", ylabel="share of images")
    axes.xaxis.set_major_locator(MaxNLocator(**TICKS))
    axes.yaxis.set_major_formatter(_percent)
    _legend(figure, axes)
    return figure


def _bars(axes: Axes) -> Iterator[Rectangle]:
    return (bar for container in axes.containers if isinstance(container, BarContainer) for bar in container)


def _legend(figure: Figure, *parts: Axes) -> None:
    """Draw one legend below the axes, with each name once."""
    named = {name: handle for axes in parts for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = 2 if max(map(len, named)) <= 24 else 1
    figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=columns)


def _percent(share: float, _position: object) -> str:
    return f"{100 * share:.3g} %"


def _mark(axes: Axes, mark: CurvePoint, colour: str, **look: Any) -> None:
    point = {"linestyle": "none", "clip_on": False, "zorder": 4, **look}
    axes.plot([mark.coverage], [mark.risk], color=colour, label=mark.name, **point)
    if mark.bound is not None:
        axes.plot([mark.coverage] * 2, [mark.risk, mark.bound], color=colour, linewidth=1.4)
        label = f"certified bound, {percent_up(mark.bound):g} %"
        axes.plot([mark.coverage], [mark.bound], "_", color=colour, markersize=12, markeredgewidth=2, label=label)


def _leftmost(risk_curve: RiskCoverage, marks: Sequence[CurvePoint]) -> float:
    """Choose the left end of the axis: below the coverage of every point and before most errors."""
    first = [risk_curve.coverage[int(np.flatnonzero(risk_curve.risk)[0])]] if any(risk_curve.risk) else []
    return max(0.0, min([0.8, *first, *(mark.coverage for mark in marks)]) - 0.05)


def _draw_counts(axes: Axes, counts: Counts) -> None:
    """Draw a cell per count, darker for a larger share of its row; right and wrong labels differ in colour."""
    for (row, column), amount in np.ndenumerate(counts):
        share = amount / max(1, counts[row].sum())
        colour = to_rgba(NO_GLASSES if row == column else GLASSES, 0.06 + 0.4 * share)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=RULE, linewidth=0.8))
        axes.text(column + 0.5, row + 0.44, f"{amount:,}", ha="center", va="center", fontsize=13)
        axes.text(column + 0.5, row + 0.72, f"{100 * share:.1f} %", ha="center", va="center", color=MUTED, fontsize=9.5)
