"""The page about the paper: its text follows from the committed results, and its statements from the figures."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.datasets import half, write_dataset
from training.data.dataset import read_dataset
from training.evaluation.seeds import StudyRun, standard_error
from training.paper import noise, published
from training.paper.conclusions import our_differences, our_floor, paper_differences, tuned_or_not
from training.paper.flips import write_flips
from training.paper.page import FOLDER, PAGE_FILE, render, write_page
from training.paper.results import RESULTS_FILE, PaperResults, Series, model_names

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / PAGE_FILE).read_text(encoding="utf-8")
RESULTS = PaperResults.read(DOCS / FOLDER / RESULTS_FILE)


def test_committed_page_follows_from_committed_results() -> None:
    assert render(RESULTS) == PAGE


def test_committed_statistics_follow_from_committed_runs() -> None:
    for found in RESULTS.labels.values():
        for series in found.series.values():
            again = Series.of(series.runs)
            assert again.differences == tuple(
                one.model_copy(update={"mean": pytest.approx(one.mean), "p": pytest.approx(one.p)})
                for one in series.differences
            )
            for one, other in zip(series.summaries, again.summaries, strict=True):
                assert one.accuracy.value == pytest.approx(other.accuracy.value)
                assert one.log_loss.value == pytest.approx(other.log_loss.value)


def test_page_shows_every_chart_of_its_folder() -> None:
    shown = set(re.findall(rf"!\[[^]]+\]\({FOLDER}/([\w-]+\.png)\)", PAGE))
    assert shown == {path.name for path in (DOCS / FOLDER).glob("*.png")}
    for name in shown:
        with Image.open(DOCS / FOLDER / name) as chart:
            assert chart.format == "PNG"
        assert (DOCS / FOLDER / name).stat().st_size < 100_000


def test_unchanged_results_leave_the_page_alone(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / PAGE_FILE).write_text(PAGE)
    RESULTS.write(tmp_path / FOLDER / RESULTS_FILE)
    assert not write_page(RESULTS, tmp_path)
    assert list((tmp_path / FOLDER).iterdir()) == [tmp_path / FOLDER / RESULTS_FILE]


def test_statements_about_the_paper_hold() -> None:
    wrong = published.WRONG_LABELS / published.IMAGES
    untuned = published.MODELS["untuned"]
    assert abs(untuned.accuracy - (1 - wrong)) < standard_error(untuned.accuracy, 900)
    low, high = noise.one_sided_floor(wrong, published.GLASSES), noise.entropy(wrong)
    losses = {name: figure.log_loss or 0.0 for name, figure in published.MODELS.items()}
    assert low < min(losses.values()) < high < losses["untuned"]
    assert low < published.RAW_LABELS[1] < high
    assert "None is significant" in "".join(paper_differences())
    assert noise.smallest_count((0.8611, 0.8733, 0.8444), 4) == 900


@pytest.mark.parametrize("labelled", [0.3, 0.5, 0.635])
def test_floors_are_those_of_the_best_answer_to_drawn_labels(labelled: float) -> None:
    wrong, random = 0.116, np.random.default_rng(0)
    shows = random.random(200_000) < labelled - wrong
    flips = np.where(shows, 0.0, wrong / (1 - labelled + wrong))
    says = shows ^ (random.random(len(shows)) < flips)
    answer = np.where(shows, 1.0, flips)
    loss = -np.log(np.where(says, answer, 1 - answer)).mean()
    assert loss == pytest.approx(noise.one_sided_floor(wrong, labelled), abs=0.005)
    assert loss < noise.entropy(wrong)
    even = random.random(len(shows)) < wrong
    assert noise.entropy(wrong) == pytest.approx(-np.log(np.where(even, wrong, 1 - wrong)).mean(), abs=0.005)


def test_flipped_labels_lower_the_accuracy_that_is_seen() -> None:
    assert noise.seen_accuracy(1.0, 0.116) == pytest.approx(0.884)
    assert noise.seen_accuracy(0.5, 0.116) == pytest.approx(0.5)


def test_flips_are_seeded_and_have_their_share_of_each_table(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "faces", half(100), test=half(50, first=201))
    before = read_dataset(folder)
    found: dict[int, tuple[set[str], ...]] = {}
    for seed in (0, 0, 1):
        assert write_flips(before, tmp_path / "flips.csv", share=0.12, seed=seed) == 18
        after = read_dataset(folder, corrections=tmp_path / "flips.csv")
        changed = tuple(
            {one.name for one, other in zip(old, new, strict=True) if one.glasses != other.glasses}
            for old, new in ((before.train, after.train), (before.test, after.test))
        )
        assert [len(names) for names in changed] == [12, 6]
        assert found.setdefault(seed, changed) == changed
    assert found[0] != found[1]


def test_flips_keep_the_corrections_of_the_data_set(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "faces", half(40))
    (folder / "corrections.csv").write_text("id,label,reason\n1,glasses,seen\n2,unclear,blurred\n3,glasses,seen\n")
    data = read_dataset(folder)
    write_flips(data, tmp_path / "flips.csv", share=0.5, seed=3)
    flipped = {one.name: one.glasses for one in read_dataset(folder, corrections=tmp_path / "flips.csv").train}
    true = {one.name: one.glasses for one in data.train}
    assert flipped.keys() == true.keys()
    assert "face-2" not in flipped
    assert sum(flipped[name] != true[name] for name in true) == 20  # Half of 39, rounded to even.
    reasons = (tmp_path / "flips.csv").read_text()
    assert flipped["face-1"] is not flipped["face-3"], "choose a seed that flips one of the two"
    assert reasons.count("corrected in the data set") == 2


def _runs(accuracy: dict[str, list[float]]) -> Series:
    return Series.of(
        [
            StudyRun(
                value=value,
                seed=seed,
                accuracy=one,
                log_loss=1 - one,
                true_accuracy=one,
                true_log_loss=0.1,
                seconds=None,
                epochs=1,
                parameters=1,
                bytes=1,
                images=100,
                errors=0,
            )
            for value, found in accuracy.items()
            for seed, one in enumerate(found)
        ]
    )


def test_intervals_end_where_possible_values_end() -> None:
    (summary,) = _runs({"128": [1.0, 0.99, 1.0]}).summaries
    assert summary.accuracy.low is not None
    assert summary.accuracy.low < summary.accuracy.value < 1.0 == summary.accuracy.high
    assert summary.log_loss.low == 0.0


def _with_models(accuracy: dict[str, list[float]]) -> PaperResults:
    flipped = RESULTS.labels["flipped"].model_copy(update={"series": {"models": _runs(accuracy)}})
    return RESULTS.model_copy(update={"labels": {**RESULTS.labels, "flipped": flipped}})


def test_conclusions_follow_from_the_runs() -> None:
    tuned = "tuned architecture, 5 trials"
    apart = _with_models({"untuned": [0.80, 0.81, 0.82], tuned: [0.90, 0.91, 0.921]})
    assert f"accuracy is 0.100 higher with {tuned} than with untuned" in " ".join(our_differences(apart))
    alike = _with_models({"untuned": [0.80, 0.81, 0.82], tuned: [0.81, 0.80, 0.825]})
    assert "flipped labels: no difference is significant (3 seeds)" in " ".join(our_differences(alike))
    once = _with_models({"untuned": [0.80], tuned: [0.9]})
    assert "one seed, so that differences cannot be tested" in " ".join(our_differences(once))
    assert "score 0.810 to 0.812 against flipped labels" in " ".join(our_floor(alike))


def test_a_perfect_accuracy_has_a_standard_error() -> None:
    perfect = _with_models({"untuned": [1.0, 1.0], "tuned architecture, 5 trials": [0.9, 0.91]})
    assert "0.095 less accurate than the untuned one, 13.5 standard errors" in " ".join(tuned_or_not(perfect))


def test_a_series_whose_untuned_runs_all_failed_says_nothing_about_tuning() -> None:
    results = _with_models({"tuned architecture, 5 trials": [0.9, 0.91]})
    assert "With flipped labels" not in " ".join(tuned_or_not(results))


def test_values_without_a_common_seed_are_not_compared() -> None:
    runs = _runs({"32": [0.8, 0.9], "64": [0.7, 0.9]}).runs
    assert not Series.of([runs[0], runs[3]]).differences
    assert len(Series.of(runs).differences) == 2


def test_unfinished_parts_are_named_on_the_page() -> None:
    once, plan = _with_models({"untuned": [0.80], "tuned architecture, 5 trials": [0.9]}), RESULTS.plan
    models = f"models: 0 of {len(model_names(plan.trials))} values have {plan.seeds} seeds (flipped labels)"
    assert models in once.unfinished()
    assert "**Not finished**" in render(once)
    assert all(f"- {part}" in render(once) for part in once.unfinished())
