"""From a folder of images to a model that is served, step by step and in one command."""

from pathlib import Path

import numpy as np
import pytest

from gate import Label, Model, ModelStore, read_pixels
from gate.scorer import Scorer
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.images import encode
from training.dataset import read_dataset
from training.errors import DataError, ExportError, RecordsError
from training.export import check_graph, export_model
from training.fit import HISTORY_FILE, NETWORK_FILE, fit_network, load_fitted
from training.network import build_network, with_probability
from training.preset import Preset
from training.records import SHARD_IMAGES, Manifest, load_records, write_records
from training.split import Split

SIZE = 32
COUNT = 620


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels that are easy to tell apart, one file that is damaged and one that is missing."""
    folder = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(COUNT))
    images = folder / "faces-spring-2020/faces-spring-2020"
    (images / "face-17.png").write_bytes(encode(barred(17, True))[:200])
    (images / "face-18.png").unlink()
    return folder


@pytest.fixture(scope="module")
def records(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(data)], out, size=SIZE, seed=0)
    return out


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    fit_network(records, out, preset=Preset(size=SIZE, filters=(4, 8), epochs=6, augment=False), seed=1)
    return out


@pytest.fixture(scope="module")
def models(records: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    export_model(load_fitted(run), records, out, command="lensgate train export")
    return out


def test_records_hold_the_gates_own_pixels(data: Path, records: Path) -> None:
    found = load_records(records, Split.TEST)
    paths = {example.name: example.path for example in read_dataset(data).train}
    for name, pixels in zip(found.names, found.images, strict=True):
        np.testing.assert_array_equal(pixels, read_pixels(paths[name].read_bytes(), SIZE))
    assert set(found.labels) == {0.0, 1.0}
    assert set(found.data_sets) == {"bars"}


def test_every_image_is_in_one_split_and_shards_hold_450(records: Path) -> None:
    manifest = Manifest.read(records)
    parts = {split: load_records(records, split) for split in Split}
    names = [name for part in parts.values() for name in part.names]
    assert len(names) == len(set(names)) == COUNT - 2
    assert len(parts[Split.TRAIN].names) < SHARD_IMAGES
    assert manifest.shards[Split.TRAIN] == ("train-00000.tfrecord",)
    counted = manifest.data[0].images
    assert sum(count for labels in counted.values() for count in labels.values()) == COUNT - 2
    assert counted["test"][Label.GLASSES] == int(parts[Split.TEST].labels.sum())


def test_more_than_450_images_take_another_shard(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SHARD_IMAGES == 450
    monkeypatch.setattr("training.records.SHARD_IMAGES", 100)
    manifest = write_records([read_dataset(data)], tmp_path, size=SIZE, seed=0)
    assert manifest.shards[Split.TRAIN] == tuple(f"train-{index:05d}.tfrecord" for index in range(5))
    assert len(load_records(tmp_path, Split.TRAIN).names) == 446


def test_files_that_are_missing_or_damaged_are_named(records: Path) -> None:
    missing, damaged = Manifest.read(records).problems
    assert missing == "bars: train.csv: face-18 has no image"
    assert damaged.startswith("bars: face-17.png is left out: the png image cannot be decoded")


def test_records_that_are_not_finished_are_refused(records: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="prepare"):
        load_records(tmp_path, Split.TRAIN)
    (tmp_path / "manifest.json").write_text((records / "manifest.json").read_text())
    with pytest.raises(RecordsError, match="lacks shards"):
        load_records(tmp_path, Split.TRAIN)


def test_two_data_sets_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same folder name"):
        write_records([read_dataset(data)] * 2, tmp_path, size=SIZE, seed=0)


def test_the_network_is_the_papers() -> None:
    network = build_network(Preset(size=64, filters=(32, 64, 128)))
    kinds = [type(layer).__name__ for layer in network.layers]
    block = ["Conv2D", "MaxPooling2D", "BatchNormalization"]
    assert kinds == ["InputLayer", "Rescaling", *block * 3, "Flatten", "Dropout", "Dense", "Reshape"]
    assert network.output.shape == (None,)


def test_training_learns_stops_early_and_writes_its_history(run: Path) -> None:
    lines = (run / HISTORY_FILE).read_text().splitlines()
    assert lines[0].split(",") == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert losses[-1] < losses[0] / 2
    assert load_fitted(run).run.epochs == len(lines) - 1


def test_training_repeats_with_its_seed(records: Path, tmp_path: Path) -> None:
    preset = Preset(size=SIZE, filters=(4,), epochs=1)
    first, second, other = (
        fit_network(records, tmp_path / name, preset=preset, seed=seed).network.get_weights()
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    for one, same in zip(first, second, strict=True):
        np.testing.assert_allclose(one, same, atol=1e-5)
    assert any(np.abs(one - differs).max() > 1e-3 for one, differs in zip(first, other, strict=True))


def test_a_run_that_is_not_finished_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / NETWORK_FILE).write_bytes((run / NETWORK_FILE).read_bytes())
    with pytest.raises(RecordsError, match="fit"):
        load_fitted(tmp_path)


def test_what_is_exported_is_right_and_equals_the_network(models: Path, run: Path, records: Path) -> None:
    model = ModelStore(models).load()
    scorer = Scorer(model)
    test = load_records(records, Split.TEST)
    assert ((scorer.score(test.images).probability >= 0.5) == (test.labels == 1)).mean() > 0.95
    everything = np.concatenate([load_records(records, split).images for split in Split])
    assert check_graph(with_probability(load_fitted(run).network), scorer, everything) <= 1e-5


def test_a_pixel_value_is_normalised_inside_the_graph(models: Path) -> None:
    (image,) = Scorer(ModelStore(models).load())._session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [SIZE, SIZE, 3])
    assert not isinstance(image.shape[0], int)


def test_the_card_says_what_the_model_is(models: Path) -> None:
    card = ModelStore(models).load().card
    assert (card.version, card.input.size, card.outputs) == ("1", SIZE, ("glasses_probability", "glasses_logit"))
    assert (card.training.seed, card.training.command) == (1, "lensgate train export")
    assert card.metrics["bars"].images == sum(card.data[0].images["test"].values())
    assert card.metrics["bars"].accuracy.value > 0.95
    assert sum(card.reference_histogram.counts) == card.metrics["bars"].images
    assert {"tensorflow", "keras", "tf2onnx", "onnxruntime"} <= set(card.tools)


def test_a_version_is_never_overwritten_and_the_next_is_not_served_unasked(
    models: Path, run: Path, records: Path
) -> None:
    before = ModelStore(models).load()
    with pytest.raises(ExportError, match="exists"):
        export_model(load_fitted(run), records, models, version="1", command="-")
    assert export_model(load_fitted(run), records, models, command="-").version == "2"
    assert ModelStore(models).versions() == ["1", "2"]
    assert ModelStore(models).load() == before


def test_a_graph_that_computes_something_else_is_not_shipped(models: Path, records: Path) -> None:
    stranger = with_probability(build_network(Preset(size=SIZE, filters=(4, 8))))
    images = np.concatenate([load_records(records, split).images for split in Split])
    with pytest.raises(ExportError, match="differs"):
        check_graph(stranger, Scorer(ModelStore(models).load()), images)


def test_an_export_is_not_checked_on_a_handful(models: Path, run: Path) -> None:
    model: Model = ModelStore(models).load()
    with pytest.raises(ExportError, match="256"):
        check_graph(with_probability(load_fitted(run).network), Scorer(model), np.zeros((255, SIZE, SIZE, 3), np.uint8))


def test_one_command_goes_the_whole_way(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, work = tmp_path / "models", tmp_path / "work"
    command = ["train", "all", "--data", str(data), "--out", str(out), "--work", str(work), "--size", "32"]
    terms = ["--licence", "bars=public domain", "--source", "bars=made for a test"]
    assert main([*command, *terms, "--epochs", "1", "--batch-size", "64", "--no-augment"]) == 0
    printed = capsys.readouterr()
    assert "face-17.png is left out" in printed.err
    assert "log loss [95 %]" in printed.out
    card = ModelStore(out).load().card
    assert (card.data[0].source, card.data[0].licence) == ("made for a test", "public domain")
    assert card.training.settings["batch_size"] == 64
    assert main(["models", "verify", "1", "--models", str(out)]) == 0
    assert main(["train", "evaluate", "--records", str(work / "records"), "--models", str(out)]) == 0
    assert "bars" in capsys.readouterr().out


@pytest.mark.parametrize("terms", [["--licence", "nobody=MIT"], ["--source", "no separator"]])
def test_terms_for_a_data_set_that_is_not_there_are_refused(
    data: Path, terms: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", "prepare", "--data", str(data), "--records", str(tmp_path), *terms]) == 1
    assert "lensgate:" in capsys.readouterr().err
