"""Simulate the audit's evidence: false alarms, time to detection, and a fixed-sample interval read each time.

    python -m bench.evidence --plot docs/screenshots/evidence.png

A run is one model version: images are accepted with the labels at the card's shares, drawn, and judged one by one. The
target is 1 % for both labels. Half of the draws are uniform, half by predicted error, with the weights of the service.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from scipy.stats import binom

from common.evidence import Floats, Side, log_evidence
from training.figures.style import GLASSES as RED
from training.figures.style import INK, WIDTH, as_png, styled
from training.figures.style import NO_GLASSES as BLUE

TARGET = 0.01
GLASSES = 0.13
"""Share of the accepted images that are accepted as glasses."""

SHOWN = 20
"""Single runs in the plot."""

_COLOURS = (BLUE, RED)
_NUMBERS = "{x:,.10g}"


@dataclass(frozen=True, slots=True)
class Run:
    """The log evidence after each verdict: against all promises together, and for a risk below the target."""

    broken: Floats
    below: Floats
    interval: NDArray[np.bool_]
    """Whether the exact 95 % interval of the uniform draws so far lies above the target."""


def simulate(seed: int, *, risk: float, verdicts: int, weighted: bool) -> Run:
    """Simulate one run.

    Args:
        seed: of the random numbers.
        risk: true share of wrong labels of both classes.
        verdicts: number of verdicts.
        weighted: whether half of the draws are by predicted error.
    """
    random = np.random.default_rng(seed)
    wrong, weights = _draw(random, risk, verdicts, weighted=weighted)
    glasses = random.random(verdicts) < GLASSES
    parts = [
        log_evidence(wrong, np.where(kept, weights, 0.0), target=TARGET, side=Side.ABOVE)
        for kept in (np.ones(verdicts, bool), glasses, ~glasses)
    ]
    uniform = weights == 1 if not weighted else random.random(verdicts) < weights
    count, errors = uniform.cumsum(), (wrong * uniform).cumsum()
    return Run(
        broken=np.logaddexp.reduce(parts) - np.log(len(parts)),
        below=log_evidence(wrong, weights, target=TARGET, side=Side.BELOW),
        interval=binom.sf(errors - 1, count, TARGET) < 0.025,
    )


def _draw(random: np.random.Generator, risk: float, verdicts: int, *, weighted: bool) -> tuple[Floats, Floats]:
    if not weighted:
        return (random.random(verdicts) < risk).astype(float), np.ones(verdicts)
    # A tenth of the images claims 20 times the error of the others, and makes half of the errors.
    claims = np.where(random.random(8 * verdicts) < 0.1, 20.0, 1.0)
    wrong = random.random(8 * verdicts) < np.where(claims > 1, 5.0, 0.5 / 0.9) * risk
    weights = 1 / (1 + claims / 2.9)
    drawn = np.flatnonzero(random.random(8 * verdicts) < 0.125 / weights)[:verdicts]
    return wrong[drawn].astype(float), weights[drawn]


def _first(reached: NDArray[np.bool_]) -> float:
    return float(reached.argmax()) if reached.any() else np.inf


def _report(runs: int, verdicts: int) -> None:
    print(f"{runs:,} runs of {verdicts:,} verdicts, target {TARGET:.0%}; first crossing of 20")
    print(f"{'risk':>6} {'draws':>14} {'evidence ever':>14} {'median':>8} {'interval ever':>14} {'below ever':>11}")
    for weighted in (False, True):
        for risk in (0.002, TARGET, 0.02, 0.03, 0.05):
            simulated = [simulate(seed, risk=risk, verdicts=verdicts, weighted=weighted) for seed in range(runs)]
            firsts = np.array([_first(run.broken >= np.log(20)) for run in simulated])
            intervals = np.mean([run.interval.any() for run in simulated])
            below = np.mean([(run.below >= np.log(20)).any() for run in simulated])
            median = np.median(firsts)
            print(
                f"{risk:6.1%} {'half by error' if weighted else 'uniform':>14} {np.isfinite(firsts).mean():14.1%} "
                f"{median if np.isfinite(median) else float('nan'):8.0f} {intervals:14.1%} {below:11.1%}",
                flush=True,
            )


def simulated_chart(runs: int) -> Figure:
    """Simulate and draw both charts."""
    risks = {"risk 1 %, as promised": TARGET, "risk 3 %": 0.03}
    shown = {
        name: [simulate(seed, risk=risk, verdicts=1_000, weighted=True).broken for seed in range(SHOWN)]
        for name, risk in risks.items()
    }
    honest = [simulate(seed, risk=TARGET, verdicts=5_000, weighted=False) for seed in range(runs)]
    alarms = {
        "95 % interval at each verdict": _share_so_far([run.interval for run in honest]),
        "evidence reaches 20": _share_so_far([run.broken[1:] >= np.log(20) for run in honest]),
    }
    return chart(shown, alarms)


@styled
def chart(shown: Mapping[str, Sequence[Floats]], alarms: Mapping[str, Floats]) -> Figure:
    """Plot the log evidence of single runs by verdict, and below it shares of runs with an alarm so far.

    The names of curves and levels are outside the axes, where no data can be.
    """
    figure = Figure((WIDTH, 5.8), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    _plot_runs(above, shown)
    _plot_alarms(below, alarms)
    return figure


def _plot_runs(figure: SubFigure, shown: Mapping[str, Sequence[Floats]]) -> None:
    axes = figure.subplots()
    for (name, runs), colour in zip(shown.items(), _COLOURS, strict=True):
        for number, run in enumerate(runs):
            axes.plot(np.exp(run), color=colour, linewidth=0.7, alpha=0.6, label=f"_{number}" if number else name)
    levels = {20: "ticket", 100: "page"}
    for level in levels:
        axes.axhline(level, color=INK, linewidth=0.8, linestyle="--")
    axes.set(yscale="log", ylim=(1e-3, 1e6), xlabel="verdicts", ylabel="evidence against\nthe promises")
    axes.set_title("Single runs")
    axes.yaxis.set_major_formatter(_NUMBERS)
    right = axes.secondary_yaxis("right")
    right.set_yticks(list(levels), list(levels.values()))
    right.tick_params(which="both", length=0, labelcolor=INK, labelsize=9)
    right.spines[:].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2)


def _plot_alarms(figure: SubFigure, alarms: Mapping[str, Floats]) -> None:
    axes = figure.subplots()
    for (name, share), colour in zip(alarms.items(), reversed(_COLOURS), strict=True):
        axes.plot(np.arange(1, len(share) + 1), share * 100, color=colour, label=name)
    axes.axhline(5, color=INK, linewidth=0.8, linestyle="--", label="5 %, the bound of the evidence")
    top = max(10.0, *(110 * share.max() for share in alarms.values()))
    axes.set(xscale="log", xlim=(10, max(map(len, alarms.values()))), ylim=(0, top), xlabel="verdicts")
    axes.xaxis.set_major_formatter(_NUMBERS)
    axes.set(title="Runs at the promised risk", ylabel="runs with an\nalarm so far, %")
    figure.legend(loc="outside lower left")


def _share_so_far(fires: Sequence[NDArray[np.bool_]]) -> Floats:
    share: Floats = np.logical_or.accumulate(fires, axis=1).mean(axis=0)
    return share


def main() -> None:
    """Print the table, and draw the plot if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--verdicts", type=int, default=2_000)
    parser.add_argument("--plot", type=Path, help="PNG file for the plot")
    options = parser.parse_args()
    _report(options.runs, options.verdicts)
    if options.plot:
        options.plot.write_bytes(as_png(simulated_chart(options.runs), dpi=130))


if __name__ == "__main__":
    main()
