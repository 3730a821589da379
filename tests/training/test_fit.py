"""A run that is stopped at any moment goes on, and ends as if it had not been."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.records import Records, load_records, write_records
from training.errors import DataError
from training.model.checkpoint import TrainingProgress
from training.model.preset import PRESETS, Preset
from training.model.train import STATE_FILE, TrainedNetwork, fit_network, load_fitted, read_history, train_network

PRESET = Preset(size=32, filters=(4, 8), epochs=3, augment=0.5)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(160))
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(folder)], out, sizes=[32], seed=0)
    return out


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


def test_a_state_of_another_run_or_half_of_one_is_not_gone_on_from(records: Path, tmp_path: Path) -> None:
    state, preset = tmp_path / STATE_FILE, PRESET.changed(epochs=1)
    train_network(*parts(records), preset=preset, seed=1, state=state)
    assert_same(
        train_network(*parts(records), preset=preset, seed=2, state=state),
        train_network(*parts(records), preset=preset, seed=2),
    )
    state.write_bytes(state.read_bytes()[:1000])
    assert len(train_network(*parts(records), preset=preset, seed=2, state=state).history["loss"]) == 1


def test_a_finished_fit_is_not_repeated_and_another_replaces_it(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = PRESET.changed(epochs=1)
    fit_network(records, tmp_path, preset=preset, seed=1)
    assert not (tmp_path / STATE_FILE).exists()
    assert read_history(tmp_path).keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
    with monkeypatch.context() as patch:
        patch.delattr("training.model.train.train_network")
        assert fit_network(records, tmp_path, preset=preset, seed=1).run.seed == 1
    assert fit_network(records, tmp_path, preset=preset, seed=2).run.seed == 2
    assert load_fitted(tmp_path).run.seed == 2


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
