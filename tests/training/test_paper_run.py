"""The paper's experiments: everything is trained once, in spite of interruptions, and truth is kept beside flips."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.records import load_records, read_rows, write_records
from training.model.network import build_network
from training.model.preset import Preset
from training.paper import experiments
from training.paper.results import PaperResults
from training.search import study, tune
from training.search.trials import TrialMetrics, measure

pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning")


class Trainer:
    """Stands in for training: pretends metrics, counts its calls, and fails at one of them."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.fails_at: int | None = None

    def pretend(self, preset: Preset, seed: int) -> TrialMetrics:
        """Return metrics that depend on the settings."""
        if len(self.trained) == self.fails_at:
            self.fails_at = None
            raise KeyboardInterrupt
        self.trained.append(f"{preset} {seed}")
        loss = 0.1 + preset.dropout / 10 + preset.learning_rate + seed / 100
        counts = {"images": 40, "errors": 2, "epochs": 3, "parameters": 5, "seconds": 1.5}
        return {"accuracy": 1 - loss / 3, "log_loss": loss, "true_accuracy": 0.98, "true_log_loss": 0.05, **counts}

    def train_and_measure(self, parts: Any, *, preset: Preset, seed: int, **_: Any) -> TrialMetrics:
        """Stand in for the function of this name."""
        assert len(parts) == 3
        return self.pretend(preset, seed)

    def fit_network(self, records: Path, out: Path, *, preset: Preset, seed: int, command: str) -> Any:
        """Stand in for the function of this name: write a history, and return the metrics in place of a network."""
        assert records.is_dir()
        assert command.startswith("lensgate train paper")
        metrics = self.pretend(preset, seed)
        out.mkdir(parents=True)
        (out / "history.csv").write_text(
            "epoch,loss,accuracy,val_loss,val_accuracy\n1,0.5,0.8,0.4,0.9\n2,0.1,1,0.6,0.9\n"
        )
        run = {"command": command, "records": "", "seed": seed, "epochs": 3, "parameters": 5, "settings": {}}
        (out / "run.json").write_text(json.dumps(run))
        return SimpleNamespace(network=metrics, run=SimpleNamespace(epochs=3, parameters=5))


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    """Replace training and measuring."""
    one = Trainer()
    for module in (study, tune):
        monkeypatch.setattr(module, "train_and_measure", one.train_and_measure)
    monkeypatch.setattr(experiments, "fit_network", one.fit_network)
    monkeypatch.setattr(experiments, "measure", lambda metrics, records, **_: {**metrics, "images": len(records)})
    yield one


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The step with two seeds and searches of one and two trials."""
    data = write_dataset(tmp_path / "faces", half(60), test=half(20, first=201))
    for path in data.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((128, 128), Image.Resampling.NEAREST).save(path)
    folders = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "docs")]
    return ["train", "paper", *folders, "--seeds", "2", "--trials", "2", "--trials", "1", "--flipped", "0.1"]


def test_an_interrupted_run_trains_everything_once(
    trainer: Trainer, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fails_at in (1, 20):
        trainer.fails_at = fails_at
        assert main(command) == 130
    assert main(command) == 0
    results = PaperResults.read(tmp_path / "docs/paper/results.json")
    assert results.unfinished() == ()
    assert "paper.md is written" in capsys.readouterr().out
    for kind, found in results.labels.items():
        assert [len(found.series[name].runs) for name in ("resolution", "batch-size")] == [6, 6], kind
        assert found.tuning["architecture"].keys() == {1, 2}
        assert all(outcome.finished == trials for trials, outcome in found.tuning["learning-rate"].items())
        assert found.history["val_loss"] == [0.4, 0.6]
        # The settings of a longer search may be those of the shorter one, which are trained once.
        fits = {path.name for path in (tmp_path / "work" / kind / "fits").iterdir()}
        assert len(fits) <= 10
    flips = [results.labels["flipped"].splits[split].flipped for split in ("train", "validation", "test")]
    assert flips[2] == 2
    assert 0 < sum(flips) <= 8
    assert all(split.flipped == 0 for split in results.labels["given"].splits.values())
    before = len(trainer.trained)
    assert main(command) == 0
    assert len(trainer.trained) == before
    assert "paper.md is up to date" in capsys.readouterr().out


def test_the_page_can_be_written_before_the_end(trainer: Trainer, command: list[str], tmp_path: Path) -> None:
    trainer.fails_at = 8
    assert main(command) == 130
    assert not (tmp_path / "docs").exists()
    assert main([*command, "--page"]) == 0
    assert "**Not finished**" in (tmp_path / "docs/paper.md").read_text()
    assert len(trainer.trained) == 8


def _elsewhere(command: list[str], tmp_path: Path) -> list[str]:
    """The same command with an empty folder for its work, as on another machine."""
    return [str(tmp_path / "elsewhere") if word == str(tmp_path / "work") else word for word in command]


def test_a_new_folder_continues_the_results_of_another_machine(
    trainer: Trainer, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "docs/paper/results.json"
    shorter = [*command[: command.index("--seeds")], "--seeds", "1", "--trials", "1", "--flipped", "0.1"]
    assert main(shorter) == 0
    # As an earlier release wrote it, which lacked a setting.
    results.write_text(re.sub(r',\s*"exchanged_eyes": 0.0', "", results.read_text()))
    assert "exchanged_eyes" not in results.read_text()
    before, trained = PaperResults.read(results), len(trainer.trained)
    assert main(_elsewhere(shorter, tmp_path)) == 0
    assert len(trainer.trained) == trained
    assert "continuing the experiments of" in capsys.readouterr().out
    assert PaperResults.read(results).labels == before.labels

    for fails_at in (trained + 5, None):
        trainer.fails_at = fails_at
        assert main(_elsewhere(command, tmp_path)) == (0 if fails_at is None else 130)
    after = PaperResults.read(results)
    assert after.unfinished() == ()
    for kind, found in after.labels.items():
        old = before.labels[kind]
        for name, series in old.series.items():
            assert {run for run in series.runs if run.seed == 0} <= set(found.series[name].runs), name
        for target, outcomes in old.tuning.items():
            assert found.tuning[target][1] == outcomes[1]
        assert found.history == old.history
    again = len(trainer.trained)
    assert main([*_elsewhere(command, tmp_path), "--hardware", "a larger machine"]) == 0
    assert len(trainer.trained) == again
    assert PaperResults.read(results).hardware == f"{before.hardware}; continued on a larger machine"
    kept = tmp_path / "elsewhere/earlier-results.json"
    PaperResults.read(kept).model_copy(update={"tools": {}}).write(kept)
    assert main(_elsewhere(command, tmp_path)) == 1
    assert "choose another folder" in capsys.readouterr().err


def _with_settings(found: PaperResults, **settings: int) -> PaperResults:
    return found.model_copy(update={"settings": {name: one | settings for name, one in found.settings.items()}})


def test_results_about_something_else_are_not_continued(
    trainer: Trainer, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [*command[: command.index("--seeds")], "--seeds", "1", "--trials", "1"]
    assert main([*short, "--flipped", "0.1"]) == 0
    path = tmp_path / "docs/paper/results.json"
    found = PaperResults.read(path)
    changes = {
        "flips": (found, ["--flipped", "0.2"]),
        "seed": (found, ["--flipped", "0.1", "--seed", "3"]),
        "version": (found.model_copy(update={"tools": {**found.tools, "keras": "1.0"}}), ["--flipped", "0.1"]),
        "unknown": (found.model_copy(update={"prepared": ""}), ["--flipped", "0.1"]),
        "settings": (_with_settings(found, epochs=9), ["--flipped", "0.1"]),
        "later release": (_with_settings(found, stride=2), ["--flipped", "0.1"]),
    }
    capsys.readouterr()
    for name, (results, options) in changes.items():
        results.write(path)
        trainer.fails_at = len(trainer.trained)
        again = [str(tmp_path / name) if word == str(tmp_path / "work") else word for word in short]
        assert main([*again, *options]) == 130, name
        assert "all experiments run anew" in capsys.readouterr().out


def test_other_flips_need_another_folder(
    trainer: Trainer, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.fails_at = 0
    assert main(command) == 130
    assert main([*command[:-1], "0.3"]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_a_network_is_measured_by_flipped_and_by_true_labels(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "faces", half(60))
    (tmp_path / "all.csv").write_text(
        "id,label,reason\n" + "".join(f"{one},{('glasses', 'no_glasses')[label]},\n" for one, label in half(60).items())
    )
    write_records([read_dataset(folder)], tmp_path / "given", sizes=[32], seed=0)
    write_records([read_dataset(folder, corrections=tmp_path / "all.csv")], tmp_path / "flipped", sizes=[32], seed=0)
    truth = {(row.data_set, row.name): row.glasses for row in read_rows(tmp_path / "given", *Split)}
    test = load_records(tmp_path / "flipped", Split.TEST)
    np.testing.assert_array_equal(test.labelled_by(truth).labels, 1 - test.labels)
    network = build_network(Preset(size=32, filters=(4,)))
    found = measure(network, test, truth=truth)
    assert found["true_accuracy"] == pytest.approx(1 - found["accuracy"])
    assert found["true_log_loss"] != found["log_loss"]
    assert "true_accuracy" not in measure(network, test)
