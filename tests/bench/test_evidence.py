"""The charts of the audit's evidence keep their names clear of the data."""

import re

import numpy as np
import pytest

from bench.evidence import chart, simulate
from common.evidence import Floats
from tests.support.figures import covered_or_cut
from training.figures import as_svg

VERDICTS = 300


def wandering(seed: int, drift: float) -> Floats:
    """Log evidence that drifts, `[VERDICTS]`."""
    return np.random.default_rng(seed).normal(drift, 0.5, VERDICTS).cumsum()


RUNS = {
    "simulated": [simulate(seed, risk=0.03, verdicts=VERDICTS, weighted=True).broken for seed in range(5)],
    "rising": [wandering(seed, 0.1) for seed in range(5)],
    "falling": [wandering(seed, -0.1) for seed in range(5)],
    "on the levels": [np.full(VERDICTS, np.log(level)) for level in (1, 20, 30, 60, 100, 150)],
    "at the edges": [np.full(VERDICTS, np.log(level)) for level in (1e-3, 1e6, 1e9)],
}
ALARMS = {
    "never": np.zeros(VERDICTS),
    "always": np.ones(VERDICTS),
    "late": np.linspace(0, 0.3, VERDICTS),
    "at the bound": np.full(VERDICTS, 0.05),
}


@pytest.mark.parametrize("name", RUNS)
def test_no_text_covers_a_run(name: str) -> None:
    shown = {"risk 1 %, as promised": RUNS["falling"], "risk 3 %": RUNS[name]}
    figure = chart(shown, {"95 % interval at each verdict": ALARMS["late"], "evidence reaches 20": ALARMS["never"]})
    assert not covered_or_cut(figure)
    names = {text.get_text() for part in figure.subfigs for text in part.legends[0].get_texts()}
    assert set(shown) < names
    assert {"ticket", "page", "0.01", "10,000", "100"} < set(
        re.findall(r"<text[^>]*>([^<]*)</text>", as_svg(figure, ""))
    )


@pytest.mark.parametrize("name", ALARMS)
def test_no_text_covers_a_share_of_alarms(name: str) -> None:
    shown = {"risk 1 %, as promised": RUNS["falling"], "risk 3 %": RUNS["rising"]}
    alarms = {"95 % interval at each verdict": ALARMS[name], "evidence reaches 20": ALARMS["never"]}
    figure = chart(shown, alarms)
    assert not covered_or_cut(figure)
    top = figure.axes[1].get_ylim()[1]
    assert top > 100 * max(share.max() for share in alarms.values())


def test_a_label_on_a_curve_is_found() -> None:
    figure = chart({"one": RUNS["on the levels"], "two": RUNS["falling"]}, {"a": ALARMS["late"], "b": ALARMS["never"]})
    figure.axes[0].text(VERDICTS, 20, "ticket", ha="right", va="center")
    assert any(name == "ticket" for name, *_ in covered_or_cut(figure))
