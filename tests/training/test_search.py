"""Studies and tuning: chosen trials, exactly-once execution after kills, several machines."""

import csv
import json
import math
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count, cycle
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import Trial as TunerTrial

from bench.serving.processes import free_port
from common.storage import AnyPath
from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.near_duplicates import group_near, perceptual_hash
from training.data.records import (
    MANIFEST_FILE,
    TABLE_FILE,
    load_parts,
    load_records,
    read_rows,
    write_records,
)
from training.errors import DataError, DivergedError, RecordsError, SearchError
from training.model.preset import PRESETS, Preset
from training.search import study
from training.search import trials as search
from training.search.oracles import SingleFileOracle, TrialValues, bayesian, hyperband, listed, random
from training.search.study import StudyResult, run_study
from training.search.trials import TrialMetrics, TrialResult, run_trials, write_table
from training.search.tune import tune

# Keras Tuner's locks call two names that Python is about to retire.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning")

TINY = Preset(size=32, filters=(4,), epochs=1)
CASES: list[TrialValues] = [{"value": value} for value in range(8)]
SECONDS = 1200  # at most, on a machine that is busy


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, and 20 images without a source."""
    data = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(120))
    lines = (data / "train.csv").read_text().splitlines()
    sources = ["source", *("ab"[index // 2 % 2] if index < 100 else "" for index in range(120))]
    (data / "train.csv").write_text("\n".join(f"{line},{source}" for line, source in zip(lines, sources, strict=True)))
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(data)], out, sizes=[32, 64], seed=0)
    return out


@pytest.fixture(scope="module")
def command(records: Path) -> list[str]:
    """A study of three values with two seeds."""
    return ["train", "study", "batch-size", "--records", str(records), "--size", "32", "--seeds", "2", "--epochs", "3"]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `command` in one undisturbed process."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "paper", TINY)
        assert main([*command, "--out", str(out)]) == 0
    return out


def run_command(arguments: list[str], environment: dict[str, str]) -> None:
    """`lensgate` with a tiny network; each training is appended to trained.log in its folder."""
    os.environ.update(environment)
    PRESETS["paper"] = TINY
    measure, log = search.train_and_measure, Path(arguments[-1]) / "trained.log"

    def logged(parts: Any, *, title: str, **options: Any) -> TrialMetrics:
        with log.open("a") as file:
            file.write(f"{title}\n")
        return measure(parts, title="", **options)

    study.train_and_measure = logged  # type: ignore[attr-defined]
    raise SystemExit(main(arguments))


def drill(out: Path, die: int) -> None:
    """Run trials without training; kill the process before or after the `die`th save."""
    save, calls = SingleFileOracle.save, count(1)

    def fatal_save(oracle: SingleFileOracle) -> None:
        number = next(calls)
        if number == die and die % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(oracle)
        if number == die:
            os.kill(os.getpid(), signal.SIGKILL)

    SingleFileOracle.save = fatal_save  # type: ignore[assignment,method-assign]

    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        with (out / "trained.log").open("a") as file:
            file.write(f"{str(state).split('/')[-2]}\n")
        return {"log_loss": float(values["rate"])}

    run_trials(random(space(), key="drill", trials=6, seed=0), measure, out)


def space() -> keras_tuner.HyperParameters:
    found = keras_tuner.HyperParameters()
    found.Float("rate", 0.0, 1.0, default=0.5)
    return found


def completed(out: Path) -> set[str]:
    """The trials that have ended, by their folder; the files on disk can be read at any moment."""
    path = out / "trials/oracle.json"
    trials = json.loads(path.read_text())["trials"] if path.exists() else {}
    return {f"trial_{name}" for name, trial in trials.items() if trial["status"] == "COMPLETED"}


def begun(out: Path) -> bool:
    """Whether a trial that has not ended has something to go on from."""
    return bool({path.parent.name for path in (out / "trials").glob("*/state.npz")} - completed(out))


def table(out: Path, name: str = "study.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((out / name).read_text().splitlines()))


def without_seconds(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


def by_value(values: TrialValues, state: AnyPath) -> TrialMetrics:
    del state
    return {"log_loss": float(values["value"])}


def until(holds: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_study_has_a_line_for_every_value_and_seed(undisturbed: Path, records: Path) -> None:
    images = len(load_records(records, Split.VALIDATION, size=32))
    rows = table(undisturbed)
    assert [(row["value"], row["seed"]) for row in rows] == [(str(v), str(s)) for s in (0, 1) for v in (32, 64, 128)]
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx(1 - int(row["errors"]) / images, abs=1e-5)
        assert (row["epochs"], row["images"]) == ("3", str(images))
        assert float(row["seconds"]) > 0
    found = StudyResult.model_validate_json((undisturbed / "study.json").read_text())
    assert [one.value for one in found.summaries] == ["32", "64", "128"]
    assert len(found.differences) == 2 * 3
    first = found.summaries[0]
    losses = [run.log_loss for run in found.runs if run.value == "32"]
    assert first.log_loss.value == pytest.approx(np.mean(losses))
    assert first.log_loss.low is not None
    assert first.standard_error == pytest.approx(math.sqrt(first.accuracy.value * (1 - first.accuracy.value) / images))


def test_a_study_that_is_done_trains_nothing_again(
    undisturbed: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "paper", TINY)
    monkeypatch.delattr(study, "train_and_measure")
    assert main([*command, "--out", str(undisturbed)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy [95 %]" in printed
    assert "is significant" in printed
    assert "images has a standard error of" in printed


def test_counts_in_a_table_keep_their_digits(tmp_path: Path) -> None:
    row = {"parameters": 1_234_567.0, "accuracy": 1.0, "log_loss": 0.123456789, "seconds": 1e300, "trial": "=1"}
    write_table(tmp_path / "trials.csv", [row])
    assert (tmp_path / "trials.csv").read_text().splitlines()[1] == "1234567,1,0.123457,1e+300,'=1"


def test_a_study_with_one_seed_says_that_it_tested_nothing(
    undisturbed: Path,
    command: list[str],
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = StudyResult.model_validate_json((undisturbed / "study.json").read_text())
    alone = found.model_copy(update={"summaries": tuple(one.model_copy(update={"runs": 1}) for one in found.summaries)})
    monkeypatch.setattr(study, "run_study", lambda *_, **__: alone)
    assert main([*command, "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "No difference was tested: that takes --seeds 2 or more." in capsys.readouterr().out


def test_a_study_that_is_killed_goes_on(
    command: list[str], undisturbed: Path, tmp_path: Path, fork: Callable[..., BaseProcess]
) -> None:
    command = [*command, "--seeds", "1", "--out", str(tmp_path)]
    kept = tmp_path / "trials"
    for done in (0, 1):
        process = fork(run_command, command, {})
        until(lambda: len(completed(tmp_path)) >= done and begun(tmp_path), process)  # noqa: B023
        process.kill()
        process.join()
    last = fork(run_command, command, {})
    last.join(SECONDS)
    assert last.exitcode == 0
    rows = table(tmp_path)
    assert without_seconds(rows) == without_seconds(table(undisturbed))[:3]
    # The duration of interrupted trials is unknown.
    assert 1 <= sum(row["seconds"] == "" for row in rows) <= 2
    assert max(Counter((tmp_path / "trained.log").read_text().splitlines()).values()) == 2
    assert not list(kept.glob("trial_*"))


def test_a_kill_at_any_saving_neither_loses_nor_repeats_a_trial(
    tmp_path: Path, fork: Callable[..., BaseProcess]
) -> None:
    log = tmp_path / "trained.log"
    log.touch()
    for die in cycle((1, 2, 3, 4, 5)):
        done, lines = completed(tmp_path), len(log.read_text().splitlines())
        process = fork(drill, tmp_path, die)
        process.join(SECONDS)
        assert not done & set(log.read_text().splitlines()[lines:])
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert completed(tmp_path) == {f"trial_{number}" for number in range(6)}
    oracle = random(space(), key="drill", trials=6, seed=0)
    values = [trial.values for trial in run_trials(oracle, by_value, tmp_path) or ()]
    again = run_trials(random(space(), key="drill", trials=6, seed=0), rated, tmp_path / "undisturbed")
    assert values == [trial.values for trial in again or ()]


def rated(values: TrialValues, state: AnyPath) -> TrialMetrics:
    del state
    return {"log_loss": float(values["rate"])}


def test_machines_share_the_trials(
    command: list[str], undisturbed: Path, tmp_path: Path, fork: Callable[..., BaseProcess]
) -> None:
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}
    processes = {}
    for name in ("chief", "one", "two"):
        # Each has its own disk.
        (tmp_path / name).mkdir()
        given = [*command, "--out", str(tmp_path / name)]
        processes[name] = fork(run_command, given, {**address, "KERASTUNER_TUNER_ID": name})
    for process in processes.values():
        process.join(SECONDS)
        assert process.exitcode == 0
    trained = {name: (tmp_path / name / "trained.log").read_text().splitlines() for name in ("one", "two")}
    assert all(trained.values())
    assert sorted(title for titles in trained.values() for title in titles) == sorted(
        f"batch-size {value}, seed {seed}" for value in (32, 64, 128) for seed in range(2)
    )
    assert without_seconds(table(tmp_path / "chief")) == without_seconds(table(undisturbed))
    assert not (tmp_path / "one/study.csv").exists()
    # The chief's folder is one as any other: without the variables the command ends there at once.
    assert completed(tmp_path / "chief") == completed(undisturbed)


@pytest.mark.parametrize("missing", search.VARIABLES)
def test_variables_that_are_not_all_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in set(search.VARIABLES) - {missing}:
        monkeypatch.setenv(name, "1")
    with pytest.raises(SearchError, match=f"^{missing} must be set as well"):
        run_trials(listed(CASES, key="one"), by_value, tmp_path)


def test_a_worker_does_not_run_the_trials_of_another_experiment(tmp_path: Path) -> None:
    oracle = listed(CASES, key="theirs")
    trial = TunerTrial(oracle.get_space(), trial_id="0")
    with pytest.raises(keras_tuner.errors.FatalError, match="another experiment"):
        search._TrialRunner(listed(CASES, key="ours"), by_value, tmp_path).run_trial(trial)


def test_a_folder_of_another_experiment_is_refused(tmp_path: Path) -> None:
    run_trials(listed(CASES, key="one"), by_value, tmp_path)
    with pytest.raises(RecordsError, match="another experiment"):
        run_trials(listed(CASES, key="two"), by_value, tmp_path)


def test_more_trials_are_added_to_those_there(tmp_path: Path) -> None:
    ran: list[int] = []

    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        ran.append(int(values["value"]))
        return by_value(values, state)

    for length in (3, 8, 5):
        found = run_trials(listed(CASES[:length], key="one"), measure, tmp_path)
    assert ran == list(range(8))
    assert found is not None
    assert [trial.values for trial in found] == CASES


def test_a_trial_that_diverges_is_noted_and_the_others_run(tmp_path: Path) -> None:
    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        if int(values["value"]) < 6:
            raise DivergedError("the loss became NaN")
        return by_value(values, state)

    found = run_trials(listed(CASES, key="one"), measure, tmp_path)
    assert found == tuple(
        TrialResult(name=str(value), values={"value": value}, metrics={"log_loss": value} if value >= 6 else {})
        for value in range(8)
    )


def test_a_study_whose_runs_all_diverge_says_so_in_one_line(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wild.json").write_text('{"size": 32, "filters": [4], "epochs": 1, "learning_rate": 1e30}')
    command = ["train", "study", "batch-size", "--seeds", "1", "--size", "32", "--records", str(records)]
    assert main([*command, "--preset-file", str(tmp_path / "wild.json"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "trial 0 failed: the loss became NaN in epoch 1" in said
    assert "lensgate: all 3 runs failed: use a smaller learning rate" in said
    assert "Traceback" not in said


def test_a_fault_is_raised_as_it_is_and_its_trial_run_again(tmp_path: Path) -> None:
    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        if values["value"] == 2:
            raise RecordsError("no such records")
        return by_value(values, state)

    with pytest.raises(RecordsError, match="no such records"):
        run_trials(listed(CASES, key="one"), measure, tmp_path)
    found = run_trials(listed(CASES, key="one"), by_value, tmp_path)
    assert found is not None
    assert [trial.metrics["log_loss"] for trial in found] == list(range(8))


@pytest.mark.parametrize("choose", [random, bayesian])
def test_first_trial_is_the_current_preset_and_bayes_samples_near_the_best(
    choose: Callable[..., keras_tuner.Oracle], tmp_path: Path
) -> None:
    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        del state
        return {"log_loss": (float(values["rate"]) - 0.3) ** 2}

    found = run_trials(choose(space(), key="one", trials=6, seed=0), measure, tmp_path)
    assert found is not None
    rates = [float(trial.values["rate"]) for trial in found]
    assert (rates[0], len(rates)) == (0.5, 6)
    if choose is bayesian:
        assert min(abs(rate - 0.3) for rate in rates) < 0.03


def test_hyperband_trains_many_shortly_and_the_best_longer(tmp_path: Path) -> None:
    found = run_trials(hyperband(space(), key="one", epochs=9, seed=0), rated, tmp_path)
    assert found is not None
    epochs = Counter(int(trial.values["tuner/epochs"]) for trial in found)
    assert set(epochs) == {1, 3, 9}
    short = sorted(float(trial.values["rate"]) for trial in found if trial.values["tuner/bracket"] == 2)
    longest = [trial for trial in found if trial.values["tuner/bracket"] == 2 and trial.values["tuner/epochs"] == 9]
    assert [float(trial.values["rate"]) for trial in longest] == [short[0]]


def test_the_sources_are_known_without_a_shard(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MANIFEST_FILE, TABLE_FILE):
        shutil.copy(records / name, tmp_path / name)
    parts = load_parts(records, Split.TRAIN, Split.VALIDATION, Split.CALIBRATION, size=32)
    monkeypatch.setattr(study, "load_parts", lambda *_, **__: parts)
    monkeypatch.setattr(study, "train_and_measure", lambda parts, *, preset, **_: pretended(parts, preset))
    found = run_study(tmp_path, tmp_path / "out", kind="sources", preset=TINY, seeds=1)
    assert found is not None
    assert {run.value for run in found.runs} == {"a", "b"}


def test_a_source_that_is_left_out_is_measured_on_and_nowhere_else(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = dict[str, study.StudyParts]()

    def measure(parts: study.StudyParts, *, preset: Preset, title: str, **_: object) -> TrialMetrics:
        used[title] = parts
        return pretended(parts, preset)

    monkeypatch.setattr(study, "train_and_measure", measure)
    run_study(records, tmp_path, kind="sources", preset=TINY, seeds=1)
    train, validation, measured = used["sources a, seed 0"]
    everything = load_records(records, Split.TRAIN, Split.VALIDATION, Split.CALIBRATION, size=32)
    assert sorted(measured.names) == sorted(
        name for name, source in zip(everything.names, everything.sources, strict=True) if source == "a"
    )
    # Images without a source are always trained on.
    assert set(train.sources) == {"b", ""}
    assert set(validation.sources) <= {"b", ""}
    groups = group_near([perceptual_hash(image) for image in everything.images])
    group_of = dict(zip(everything.names, groups, strict=True))
    held_out = {group_of[name] for name in measured.names}
    near = {name for name, group in group_of.items() if group in held_out} - set(measured.names)
    assert near
    assert {*train.names, *validation.names} == {*everything.names} - {*measured.names} - near


def test_values_are_those_that_the_records_have(records: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train_and_measure", lambda parts, *, preset, **_: pretended(parts, preset))
        sizes = run_study(records, tmp_path / "r", kind="resolution", preset=TINY, seeds=1)
        sources = run_study(records, tmp_path / "s", kind="sources", preset=TINY, seeds=1)
        with pytest.raises(RecordsError, match="prepare --size 32 --size 128"):
            run_study(records, tmp_path / "p", kind="presets", preset=TINY, seeds=1, epochs=2)
        patch.setattr(study, "PRESETS", {"paper": PRESETS["paper"], "wide": PRESETS["paper"].changed(epochs=9)})
        presets = run_study(records, tmp_path / "p", kind="presets", preset=TINY, seeds=1, epochs=2)
    assert sizes is not None
    assert [(run.value, run.parameters) for run in sizes.runs] == [("32", 32), ("64", 64)]
    assert sizes.runs[1].bytes > 3 * sizes.runs[0].bytes
    assert sources is not None
    assert [run.value for run in sources.runs] == ["a", "b"]
    assert presets is not None
    assert [(run.value, run.epochs) for run in presets.runs] == [("paper", 2), ("wide", 2)]


def pretended(parts: study.StudyParts, preset: Preset) -> TrialMetrics:
    size = parts[0].size
    return {"log_loss": 0.1, "accuracy": 1, "epochs": preset.epochs, "parameters": size, "images": 9, "errors": 0}


def test_source_that_holds_all_validation_images_cannot_be_left_out(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "bars", half(60))
    lines = (data / "train.csv").read_text().splitlines()
    write_records([read_dataset(data)], tmp_path / "records", sizes=[32], seed=0)
    trained = {row.name for row in read_rows(tmp_path / "records", Split.TRAIN)}
    names = [f"face-{line.split(',')[0]}" for line in lines[1:]]
    sources = ["source", *("small" if name == min(trained) else "large" for name in names)]
    (data / "train.csv").write_text("\n".join(f"{line},{source}" for line, source in zip(lines, sources, strict=True)))
    write_records([read_dataset(data)], tmp_path / "records", sizes=[32], seed=0)
    with pytest.raises(RecordsError, match="without the source 'large' no image is left to stop early by"):
        run_study(tmp_path / "records", tmp_path / "out", kind="sources", preset=TINY, seeds=1)


def test_records_without_sources_have_none_to_leave_out(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "bars", half(60))
    write_records([read_dataset(data)], tmp_path / "records", sizes=[32], seed=0)
    for kind, advice in (("sources", "column source"), ("resolution", "prepare --size")):
        with pytest.raises(RecordsError, match=advice):
            run_study(tmp_path / "records", tmp_path / "out", kind=kind, preset=TINY, seeds=1)  # type: ignore[arg-type]


def test_tuning_finds_an_architecture_and_then_its_rate(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "paper", TINY)
    given = ["--records", str(records), "--size", "32", "--trials", "2"]
    assert main(["train", "tune", "architecture", *given, "--out", str(tmp_path / "a")]) == 0
    assert "2 of 2 trials finished" in capsys.readouterr().out
    rows = table(tmp_path / "a", "trials.csv")
    assert (rows[0]["filters"], rows[0]["blocks"], rows[0]["kernel"]) == ("4", "1", "3")
    best = min(rows, key=lambda row: float(row["log_loss"]))
    found = Preset.read(tmp_path / "a/best.json")
    assert (found.filters[0], len(found.filters), found.pooling) == (
        int(best["filters"]), int(best["blocks"]), best["pooling"],
    )  # fmt: skip
    start = ["--preset-file", str(tmp_path / "a/best.json")]
    assert main(["train", "tune", "learning-rate", *given, *start, "--out", str(tmp_path / "b")]) == 0
    rate = Preset.read(tmp_path / "b/best.json")
    assert rate.filters == found.filters
    rows = table(tmp_path / "b", "trials.csv")
    assert {row["decay_rate"] for row in rows} > {"0.9"}
    # The table has the rates that were used, of three digits.
    best = min(rows, key=lambda row: float(row["log_loss"]))
    assert (float(best["learning_rate"]), float(best["decay_rate"])) == (rate.learning_rate, rate.decay_rate)
    assert all(float(f"{float(row['learning_rate']):.3g}") == float(row["learning_rate"]) for row in rows)


def test_hyperband_refuses_a_number_of_trials(records: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hyperband"):
        tune(records, tmp_path, target="architecture", start=TINY, algorithm="hyperband", trials=3)


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text('{"filters": "4", "colour": "blue"}')
    with pytest.raises(DataError, match="colour is not a setting"):
        Preset.read(tmp_path / "best.json")
