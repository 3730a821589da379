"""Simulate the audit's evidence: false alarms, time to detection, and a fixed-sample interval read each time.

    python -m bench.evidence --plot docs/screenshots/evidence.png

A run is one model version: images are accepted with the labels at the card's shares, drawn, and judged one by one. The
target is 1 % for both labels. Half of the draws are uniform and half by claimed error, with the weights of the service.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from common.evidence import Floats, Side, log_evidence

TARGET = 0.01
GLASSES = 0.13
"""Share of the accepted images that are accepted as glasses."""

SHOWN = 20
"""Single runs in the plot."""


@dataclass(frozen=True, slots=True)
class Run:
    """The log evidence after each verdict: against all promises together, and for a risk below the target."""

    broken: Floats
    below: Floats
    interval: NDArray[np.bool_]
    """Whether the exact 95 % interval of the uniform draws so far lies above the target."""


def simulate(seed: int, *, risk: float, verdicts: int, by_claims: bool) -> Run:
    """Simulate one run.

    Args:
        seed: of the random numbers.
        risk: true share of wrong labels of both classes.
        verdicts: number of verdicts.
        by_claims: whether half of the draws are by claimed error.
    """
    random = np.random.default_rng(seed)
    wrong, weights = _draw(random, risk, verdicts, by_claims=by_claims)
    glasses = random.random(verdicts) < GLASSES
    parts = [
        log_evidence(wrong, np.where(kept, weights, 0.0), target=TARGET, side=Side.ABOVE)
        for kept in (np.ones(verdicts, bool), glasses, ~glasses)
    ]
    uniform = weights == 1 if not by_claims else random.random(verdicts) < weights
    count, errors = uniform.cumsum(), (wrong * uniform).cumsum()
    return Run(
        broken=np.logaddexp.reduce(parts) - np.log(len(parts)),
        below=log_evidence(wrong, weights, target=TARGET, side=Side.BELOW),
        interval=binom.sf(errors - 1, count, TARGET) < 0.025,
    )


def _draw(random: np.random.Generator, risk: float, verdicts: int, *, by_claims: bool) -> tuple[Floats, Floats]:
    if not by_claims:
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
    for by_claims in (False, True):
        for risk in (0.002, TARGET, 0.02, 0.03, 0.05):
            found = [simulate(seed, risk=risk, verdicts=verdicts, by_claims=by_claims) for seed in range(runs)]
            firsts = np.array([_first(run.broken >= np.log(20)) for run in found])
            intervals = np.mean([run.interval.any() for run in found])
            below = np.mean([(run.below >= np.log(20)).any() for run in found])
            median = np.median(firsts)
            print(
                f"{risk:6.1%} {'half by claims' if by_claims else 'uniform':>14} {np.isfinite(firsts).mean():14.1%} "
                f"{median if np.isfinite(median) else float('nan'):8.0f} {intervals:14.1%} {below:11.1%}",
                flush=True,
            )


def _plot(path: Path, runs: int) -> None:
    import matplotlib as mpl  # noqa: PLC0415 -- The import takes a second, and few runs plot.

    mpl.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for risk, colour, name in ((TARGET, "#0069a8", "risk 1 %, as promised"), (0.03, "#b42318", "risk 3 %")):
        paths = [simulate(seed, risk=risk, verdicts=1_000, by_claims=True).broken for seed in range(SHOWN)]
        for at, path_of in enumerate(paths):
            left.plot(np.exp(path_of), color=colour, linewidth=0.7, alpha=0.6, label=None if at else name)
    for level, text in ((20, "ticket"), (100, "page")):
        left.axhline(level, color="#333333", linewidth=0.8, linestyle="--")
        left.text(1_000, level, text, ha="right", va="bottom", fontsize=8)
    left.set(yscale="log", ylim=(1e-3, 1e6), xlabel="verdicts", ylabel="evidence against the promises")
    left.legend(loc="upper left", fontsize=8)
    honest = [simulate(seed, risk=TARGET, verdicts=5_000, by_claims=False) for seed in range(runs)]
    series: tuple[tuple[str, str, Callable[[Run], NDArray[np.bool_]]], ...] = (
        ("95 % interval at each verdict", "#b42318", lambda run: run.interval),
        ("evidence reaches 20", "#0069a8", lambda run: run.broken[1:] >= np.log(20)),
    )
    for name, colour, fires in series:
        ever = np.mean([np.logical_or.accumulate(fires(run)) for run in honest], axis=0)
        right.plot(np.arange(1, len(ever) + 1), ever * 100, color=colour, label=name)
    right.axhline(5, color="#333333", linewidth=0.8, linestyle="--")
    right.set(xscale="log", xlim=(10, 5_000), ylim=(0, 35), xlabel="verdicts", ylabel="honest runs with an alarm, %")
    right.legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table, and draw the plot if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--verdicts", type=int, default=2_000)
    parser.add_argument("--plot", type=Path, help="PNG file for the plot")
    options = parser.parse_args()
    _report(options.runs, options.verdicts)
    if options.plot:
        _plot(options.plot, options.runs)


if __name__ == "__main__":
    main()
