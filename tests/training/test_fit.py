"""A run that is stopped at any moment goes on, and ends as if it had not been."""

import errno
import json
import math
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.records import Records, load_records, write_records
from training.errors import DataError, DivergedError, RecordsError
from training.model.checkpoint import TrainingProgress, TrainingState, kept_epoch
from training.model.preset import PRESETS, Preset
from training.model.train import (
    HISTORY_FILE,
    NETWORK_FILE,
    RUN_FILE,
    STATE_FILE,
    TrainedNetwork,
    fit_network,
    load_fitted,
    read_history,
    train_network,
)

PRESET = Preset(size=32, filters=(4, 8), epochs=3, augment=0.5)
ONE_EPOCH = PRESET.changed(epochs=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(160))
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(folder)], out, sizes=[32], seed=0)
    return out


@pytest.fixture(scope="module")
def finished(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of `ONE_EPOCH` with seed 1, which takes a second; tests change a copy of it."""
    out = tmp_path_factory.mktemp("finished")
    fit_network(records, out, preset=ONE_EPOCH, seed=1)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def parts(records: Path) -> tuple[Records, Records]:
    return load_records(records, Split.TRAIN), load_records(records, Split.VALIDATION)


def assert_same(one: TrainedNetwork, other: TrainedNetwork) -> None:
    assert one.history == other.history
    for first, second in zip(one.network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("patience", [0, 2])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    preset = PRESET.changed(patience=patience)
    whole = train_network(*parts(records), preset=preset, seed=3)
    state, real = tmp_path / STATE_FILE, TrainingProgress.on_epoch_end

    def stop(self: TrainingProgress, epoch: int, logs: dict[str, float] | None = None) -> None:
        real(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingProgress, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train_network(*parts(records), preset=preset, seed=3, state=state)
    monkeypatch.setattr(TrainingProgress, "on_epoch_end", real)
    assert_same(train_network(*parts(records), preset=preset, seed=3, state=state), whole)


def test_checkpoint_of_another_run_or_truncated_is_ignored(records: Path, tmp_path: Path) -> None:
    state = tmp_path / STATE_FILE
    train, validation = parts(records)
    train_network(train, validation, preset=ONE_EPOCH, seed=1, state=state)
    whole = train_network(train, validation, preset=ONE_EPOCH, seed=2)
    assert_same(train_network(train, validation, preset=ONE_EPOCH, seed=2, state=state), whole)
    other = validation.relabelled(1 - validation.labels)
    seen = train_network(train, other, preset=ONE_EPOCH, seed=2, state=state).history["val_accuracy"]
    assert seen == [1 - one for one in whole.history["val_accuracy"]]
    state.write_bytes(state.read_bytes()[:1000])
    assert len(train_network(train, validation, preset=ONE_EPOCH, seed=2, state=state).history["loss"]) == 1


def test_a_finished_fit_is_not_repeated_and_another_replaces_it(
    records: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (run / STATE_FILE).exists()
    assert read_history(run).keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
    with monkeypatch.context() as patch:
        patch.delattr("training.model.train.train_network")
        assert fit_network(records, run, preset=ONE_EPOCH, seed=1).run.seed == 1
    assert fit_network(records, run, preset=ONE_EPOCH, seed=2).run.seed == 2
    assert load_fitted(run).run.seed == 2


@pytest.mark.parametrize("patience", [0, 2])
def test_nan_loss_is_an_error_and_keeps_the_earlier_run(records: Path, run: Path, patience: int) -> None:
    before = load_fitted(run).run
    wild = PRESET.changed(learning_rate=1e30, patience=patience)
    for _ in range(2):  # The second time from the checkpoint.
        with pytest.raises(DivergedError, match="NaN in epoch 1: use a smaller learning_rate"):
            fit_network(records, run, preset=wild, seed=1)
    assert load_fitted(run).run == before


@pytest.mark.parametrize(("losses", "kept"), [([0.5, 0.4, math.nan], 2), ([0.5, 0.4, 0.4, 0.6], 3)])
def test_the_kept_epoch_is_the_one_that_is_named(losses: list[float], kept: int) -> None:
    progress = TrainingProgress(PRESET.changed(patience=2), TrainingState(None, key=""))
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile()
    progress.set_model(network)
    for value, loss in enumerate(losses):
        network.set_weights([np.full((1, 1), value), np.full(1, value)])
        progress.on_epoch_end(value, {"loss": loss, "val_loss": loss})
    assert progress.stopped
    progress.restore_best(network)
    assert network.get_weights()[1] + 1 == kept == kept_epoch(losses, 2)
    assert kept_epoch(losses, 0) == len(losses)


@pytest.mark.parametrize("broken", [NETWORK_FILE, RUN_FILE, HISTORY_FILE])
def test_a_fit_whose_files_are_damaged_is_named_and_repeated(records: Path, run: Path, broken: str) -> None:
    whole = load_fitted(run)
    if broken == HISTORY_FILE:
        (run / broken).unlink()
    else:
        (run / broken).write_bytes((run / broken).read_bytes()[:100])
        with pytest.raises(RecordsError, match="run `lensgate train fit`"):
            load_fitted(run)
    again = fit_network(records, run, preset=ONE_EPOCH, seed=1)
    for first, second in zip(whole.network.get_weights(), again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert load_fitted(run).run == again.run


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "epoch;loss\n1;0.5\n", "epoch,loss\n1\n"])
def test_a_history_that_was_edited_is_named_and_written_anew(records: Path, run: Path, text: str) -> None:
    whole = (run / HISTORY_FILE).read_text()
    (run / HISTORY_FILE).write_text(text)
    with pytest.raises(RecordsError, match=r"history\.csv cannot be read: run `lensgate train fit` again"):
        read_history(run)
    fit_network(records, run, preset=ONE_EPOCH, seed=1)
    assert (run / HISTORY_FILE).read_text() == whole


@pytest.mark.parametrize(
    "change",
    [{"colour": 1}, {"filters": "four"}, {"size": 64}, {"size": "small"}],
    ids=["unknown", "no number", "another size", "no size"],
)
def test_settings_of_a_run_that_were_edited_are_named(run: Path, change: dict[str, object]) -> None:
    written = json.loads((run / RUN_FILE).read_text())
    written["settings"] |= change
    (run / RUN_FILE).write_text(json.dumps(written))
    with pytest.raises(RecordsError, match=r"run\.json .*: run `lensgate train fit` again"):
        load_fitted(run)


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04"])
def test_a_state_that_was_cut_off_at_its_start_is_ignored(tmp_path: Path, left: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(left)
    assert TrainingState(tmp_path / STATE_FILE, key="-").read() is None


def test_a_settings_file_may_hold_some_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"epochs": 3, "filters": [8, 16], "band_filters": ""}')
    assert Preset.read(path) == Preset(epochs=3, filters=(8, 16))
    path.write_text(json.dumps(PRESETS["gate"].settings()))
    assert Preset.read(path) == PRESETS["gate"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "No such file"),
        ("epochs: 3", "holds no settings"),
        ("[1]", "JSON object"),
        ('{"epoch": 3}', "epoch is not a setting: did you mean epochs?"),
        ('{"epochs": "many"}', "epochs: must be an integer, not 'many'"),
        ('{"dropout": 1.0}', "dropout: must be less than 1, not 1.0"),
        ('{"filters": []}', "filters: "),
        ('{"filters": "8 x"}', "filters.1: "),
        ('{"learning_rate": -1}', "learning_rate: "),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str | None, fault: str) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=re.escape(fault)):
        Preset.read(path)


def test_a_preset_goes_into_a_card_and_comes_back() -> None:
    for preset in PRESETS.values():
        assert Preset.from_settings(preset.settings()) == preset
    with pytest.raises(DataError, match="use fewer"):
        Preset(size=32).changed(filters=(4,) * 6)


@pytest.mark.parametrize("change", [{"head": "average"}, {"pooling": "average"}, {"dense": 8}])
def test_every_variant_of_the_network_learns(records: Path, change: dict[str, object]) -> None:
    preset = Preset(size=32, filters=(8, 8), epochs=8, learning_rate=0.01, schedule="cosine", patience=0).changed(
        **change
    )
    losses = train_network(*parts(records), preset=preset, seed=0).history["loss"]
    assert losses[-1] < losses[0] * 0.7


def test_full_disk_keeps_the_earlier_run_and_the_retry_does_not_train(
    records: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_fitted(run).run

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            fit_network(records, run, preset=ONE_EPOCH, seed=2)
    assert load_fitted(run).run == before
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained"))
        assert fit_network(records, run, preset=ONE_EPOCH, seed=2).run.seed == 2
