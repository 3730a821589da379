"""Runs compared image by image, and tests of significance."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.records import load_records, write_records
from training.errors import RecordsError
from training.evaluation.compare import Comparison, compare_runs, mcnemar
from training.evaluation.seeds import paired_p, t_interval
from training.model.preset import Preset
from training.model.train import fit_network, load_fitted, predict_logits

TINY = Preset(size=32, filters=(4,), epochs=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(200))
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(data)], out, sizes=[32, 64], seed=0)
    return out


@pytest.fixture(scope="module")
def runs(records: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One that has learned, one that hardly has, and one of another size."""
    presets = (TINY.changed(epochs=6, learning_rate=0.01), TINY.changed(learning_rate=1e-5), TINY.changed(size=64))
    folders = [tmp_path_factory.mktemp("run") for _ in presets]
    for folder, preset in zip(folders, presets, strict=True):
        fit_network(records, folder, preset=preset, seed=1)
    return folders


@pytest.fixture(scope="module")
def comparison(records: Path, runs: list[Path]) -> Comparison:
    return compare_runs(records, runs)


def test_each_run_is_measured_on_the_test_split(comparison: Comparison, records: Path, runs: list[Path]) -> None:
    for run, folder, size in zip(comparison.runs, runs, (32, 32, 64), strict=True):
        test = load_records(records, Split.TEST, size=size)
        wrong = (predict_logits(load_fitted(folder).network, test.images) >= 0) != (test.labels == 1)
        assert (run.run, run.images, run.errors) == (str(folder), len(test), wrong.sum())
        assert run.accuracy.value == pytest.approx(1 - wrong.mean())
        assert run.log_loss.low < run.log_loss.value < run.log_loss.high


def test_a_pair_is_compared_image_by_image(comparison: Comparison) -> None:
    first, other, _ = comparison.runs
    pair = comparison.pairs[0]
    assert (pair.first, pair.other) == (first.run, other.run)
    assert pair.only_other_wrong - pair.only_first_wrong == other.errors - first.errors > 0
    assert pair.mcnemar_p < 0.05
    assert pair.log_loss_difference.value == pytest.approx(other.log_loss.value - first.log_loss.value)
    # What both find hard cancels out: the difference is surer than the two it is made of.
    assert 0 < pair.log_loss_difference.low < pair.log_loss_difference.value < pair.log_loss_difference.high


def test_the_command_prints_and_writes_the_comparison(
    comparison: Comparison, records: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part for folder in runs for part in ("--run", str(folder))]
    assert main(["train", "compare", "--records", str(records), *given, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "(McNemar p < 0.001)" in printed
    assert Comparison.model_validate_json((tmp_path / "comparison.json").read_text()) == comparison
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == [str(folder) for folder in runs]
    assert rows[0]["mcnemar_p"] == ""
    assert float(rows[1]["log_loss_difference_low"]) > 0


def test_a_run_that_was_fitted_to_other_records_is_refused(records: Path, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for path in runs[0].iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    text = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**text, "records": "0" * 64}))
    with pytest.raises(RecordsError, match="other records"):
        compare_runs(records, [runs[0], tmp_path / "run"])


def test_comparison_of_one_run_is_an_error(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "compare", "--run", str(runs[0]), "--out", str(tmp_path)]) == 1
    assert "two runs" in capsys.readouterr().err


def test_invalid_comparison_is_refused_before_a_network_is_loaded(
    records: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.compare.load_fitted", lambda _: pytest.fail("loaded"))
    (tmp_path / "out/comparison.json").mkdir(parents=True)
    command = ["train", "compare", "--records", str(records), "--out", str(tmp_path / "out"), "--run", str(runs[0])]
    for other, fault in ((runs[0], "is given twice"), (runs[1], "comparison.json is a folder: name another place")):
        assert main([*command, "--run", str(other)]) == 1
        assert fault in capsys.readouterr().err


def test_mcnemar_counts_only_what_one_of_the_two_gets_wrong() -> None:
    first, other = np.zeros(100, bool), np.zeros(100, bool)
    first[:1], other[1:10], first[50:], other[50:] = True, True, True, True
    assert mcnemar(first, other) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(first, first) == 1


def test_an_interval_takes_two_seeds() -> None:
    assert t_interval([0.5]) is None
    # Student's quantile for one degree of freedom is 12.706, the standard error of these two is 1.
    assert t_interval([1.0, 3.0]) == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3)


def test_seeds_are_held_against_each_other_one_by_one() -> None:
    first = [0.1, 0.5, 0.9]
    assert paired_p(first, [0.2, 0.61, 1.01]) < 0.01
    assert paired_p(first, [0.9, 0.1, 0.5]) > 0.5


@pytest.mark.parametrize("seeds", [1, 3], ids=["one seed", "differences that do not scatter"])
def test_too_few_seeds_have_the_p_value_one(seeds: int) -> None:
    assert paired_p([0.5] * seeds, [0.6] * seeds) == 1
