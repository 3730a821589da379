"""From a folder of images to a model that is served, step by step."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit

from gate import Label, Model, ModelError, ModelStore, area_average, read_pixels
from gate.onnx_runtime import onnxruntime
from gate.scorer import Scorer
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.images import encode
from tests.support.models import brightness_model, card_text, write_model
from training.data.dataset import Split, read_dataset
from training.data.records import Manifest, load_records, write_records
from training.data.shards import SHARD_IMAGES
from training.drawing import Eyewear, draw_face
from training.errors import DataError, ExportError, RecordsError
from training.evaluation.calibrate import log_losses
from training.export import GOLDEN_SEED, check_graph, export_model
from training.model.network import as_shipped, build_network
from training.model.preset import Preset
from training.model.train import HISTORY_FILE, NETWORK_FILE, fit_network, load_fitted, predict_logits, training_batches

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
    write_records([read_dataset(data)], out, sizes=[SIZE], seed=0, command="lensgate train prepare")
    return out


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    preset = Preset(size=SIZE, filters=(4, 8), epochs=6, augment=0.0)
    fit_network(records, out, preset=preset, seed=1, command="lensgate train fit")
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


def test_every_image_is_in_one_split(records: Path) -> None:
    manifest = Manifest.read(records)
    parts = {split: load_records(records, split) for split in Split}
    names = [name for part in parts.values() for name in part.names]
    assert len(names) == len(set(names)) == COUNT - 2
    assert [shard.images for shard in manifest.shards[SIZE]] == [449, 169]
    assert all((records / shard.file).stat().st_size == shard.bytes for shard in manifest.shards[SIZE])
    counted = manifest.data[0].images
    assert sum(count for labels in counted.values() for count in labels.values()) == COUNT - 2
    assert counted["test"][Label.GLASSES] == int(parts[Split.TEST].labels.sum())


def test_more_than_450_images_take_another_shard(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SHARD_IMAGES == 450
    monkeypatch.setattr("training.data.shards.SHARD_IMAGES", 100)
    manifest = write_records([read_dataset(data)], tmp_path, sizes=[SIZE], seed=0)
    assert [shard.images for shard in manifest.shards[SIZE]] == [99, 100, 100, 100, 100, 100, 19]
    assert len(load_records(tmp_path, *Split)) == COUNT - 2


def test_files_that_are_missing_or_damaged_are_named(records: Path) -> None:
    # The pictures are near-duplicates of each other, which prepare warns of.
    missing, damaged, skewed = Manifest.read(records).problems
    assert missing.startswith("bars: train.csv line ")
    assert missing.endswith(": face-18 has no image")
    assert damaged.startswith("bars: face-17.png is left out: the png is damaged or incomplete")
    assert skewed.startswith("bars: the share of glasses differs by more than chance: ")


def test_records_that_are_not_finished_are_refused(records: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="prepare"):
        load_records(tmp_path, Split.TRAIN)
    for name in ("manifest.json", "images.csv"):
        (tmp_path / name).write_text((records / name).read_text())
    with pytest.raises(RecordsError, match="lacks shards"):
        load_records(tmp_path, Split.TRAIN)


def test_two_data_sets_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same folder name"):
        write_records([read_dataset(data)] * 2, tmp_path, sizes=[SIZE], seed=0)


def test_the_network_is_made_of_the_papers_blocks() -> None:
    network = build_network(Preset())
    kinds = [type(layer).__name__ for layer in network.layers]
    block = ["Conv2D", "MaxPooling2D", "BatchNormalization"]
    assert kinds == ["InputLayer", "Rescaling", *block * 3, "Flatten", "Dropout", "Dense", "Reshape"]
    assert network.output.shape == (None,)


def test_training_learns_and_writes_its_history(run: Path) -> None:
    lines = (run / HISTORY_FILE).read_text().splitlines()
    assert lines[0].split(",") == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert losses[-1] < losses[0] / 2
    assert load_fitted(run).run.epochs == len(lines) - 1


def test_training_stops_early_and_keeps_its_best_epoch(records: Path, tmp_path: Path) -> None:
    preset = Preset(size=SIZE, filters=(4,), epochs=60, patience=1, learning_rate=0.01)
    fitted = fit_network(records, tmp_path, preset=preset, seed=2)
    losses = [float(line.split(",")[4]) for line in (tmp_path / HISTORY_FILE).read_text().splitlines()[1:]]
    assert len(losses) < 60
    assert losses[-1] > min(losses)
    validation = load_records(records, Split.VALIDATION)
    logits = predict_logits(fitted.network, validation.images)
    found = log_losses(expit(logits), validation.labels).mean()
    assert found == pytest.approx(min(losses), rel=1e-3, abs=1e-7)


def epochs_of(records: Path, preset: Preset, *, seed: int, first: int = 0, count: int = 2) -> list[np.ndarray]:
    train = load_records(records, Split.TRAIN)
    steps = len(train) // preset.batch_size
    batches = training_batches(train, preset, seed=seed, first_epoch=first).take(steps * count)
    images = np.concatenate([image for image, _ in batches.as_numpy_iterator()])
    return np.split(images, count)


def test_augmentation_changes_every_image_each_time_and_repeats_with_its_seed(records: Path) -> None:
    preset = Preset(size=SIZE, augment=1.0)
    first, second = epochs_of(records, preset, seed=7)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 255
    plain = load_records(records, Split.TRAIN).images.astype(np.float32)
    for epoch in (first, second):
        # However they are shuffled, hardly an image is left as it was.
        assert np.mean([np.abs(plain - image).mean(axis=(1, 2, 3)).min() > 0.5 for image in epoch[:50]]) > 0.9
    assert np.abs(first - second).mean() > 1
    for epoch, again in zip((first, second), epochs_of(records, preset, seed=7), strict=True):
        np.testing.assert_array_equal(epoch, again)
    # The content of an epoch depends on its number, not on the start of the run.
    np.testing.assert_array_equal(epochs_of(records, preset, seed=7, first=1, count=1)[0], second)


def test_the_order_of_the_training_images_is_shuffled(records: Path) -> None:
    first, second = epochs_of(records, Preset(size=SIZE, batch_size=1), seed=0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first.sum(axis=(1, 2, 3))), np.sort(second.sum(axis=(1, 2, 3))))


def test_training_repeats_with_its_seed(records: Path, tmp_path: Path) -> None:
    preset = Preset(size=SIZE, filters=(4,), epochs=1, augment=1.0)
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


def test_exported_graph_is_accurate_and_equals_the_network(models: Path, run: Path, records: Path) -> None:
    model = ModelStore(models).load()
    scorer = Scorer(model)
    test = load_records(records, Split.TEST)
    assert ((scorer.score(test.images).probability >= 0.5) == (test.labels == 1)).mean() > 0.95
    everything = np.concatenate([load_records(records, split).images for split in Split])
    assert check_graph(as_shipped(load_fitted(run).network), scorer, everything) <= 1e-5


def test_a_pixel_value_is_normalised_inside_the_graph(models: Path) -> None:
    (image,) = onnxruntime.InferenceSession(ModelStore(models).load().graph).get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [SIZE, SIZE, 3])
    assert not isinstance(image.shape[0], int)


def test_the_card_says_what_the_model_is(models: Path) -> None:
    card = ModelStore(models).load().card
    assert (card.version, card.input.size, card.outputs) == ("1", SIZE, ("glasses_probability", "glasses_logit"))
    assert (card.training.split_seed, card.training.seed) == (0, 1)
    assert card.training.commands == ("lensgate train prepare", "lensgate train fit", "lensgate train export")
    assert card.metrics["bars"].images == sum(card.data[0].images["test"].values())
    assert card.metrics["bars"].accuracy.value > 0.95
    assert sum(card.reference_histogram.counts) == card.metrics["bars"].images
    assert {"tensorflow", "keras", "tf2onnx", "onnxruntime"} <= set(card.tools)


def test_the_card_carries_drawn_portraits_and_their_scores(models: Path) -> None:
    model = ModelStore(models).load()
    assert [sample.name for sample in model.card.golden] == list(Eyewear)
    scorer = Scorer(model)
    for sample in model.card.golden:
        pixels = read_pixels(sample.png, SIZE)
        kind = Eyewear(sample.name)
        drawn = draw_face(np.random.default_rng([GOLDEN_SEED, list(Eyewear).index(kind)]), kind)
        np.testing.assert_array_equal(pixels, area_average(np.asarray(drawn), SIZE))
        (score,) = scorer.score(pixels[None]).each()
        assert (score.probability, score.novelty) == (sample.glasses_probability, sample.novelty)


def test_export_never_overwrites_a_version_and_does_not_promote_the_next(
    models: Path, run: Path, records: Path, tmp_path: Path
) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    before = ModelStore(tmp_path).load()
    with pytest.raises(ModelError, match="exists"):
        export_model(load_fitted(run), records, tmp_path, version="1", command="-")
    assert export_model(load_fitted(run), records, tmp_path, command="-").version == "2"
    assert ModelStore(tmp_path).versions() == ["1", "2"]
    assert ModelStore(tmp_path).load() == before
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "glasses/2").iterdir()} == {0o644}


def test_a_network_is_not_exported_with_records_it_was_not_fitted_to(data: Path, run: Path, tmp_path: Path) -> None:
    write_records([read_dataset(data)], tmp_path / "records", sizes=[SIZE], seed=9)
    with pytest.raises(RecordsError, match="fitted to other records"):
        export_model(load_fitted(run), tmp_path / "records", tmp_path / "models", command="-")


def test_a_model_is_not_measured_on_a_split_it_was_trained_on(
    data: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records([read_dataset(data)], tmp_path, sizes=[SIZE], seed=9)
    assert main(["train", "evaluate", "--records", str(tmp_path), "--models", str(models)]) == 1
    assert "split with --seed 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "name", "warning"),
    [
        (lambda rows: rows, "bars", ""),
        (lambda rows: rows, "renamed", ""),
        (lambda rows: rows[::-1], "bars", "bars has its rows in another order"),
        (lambda rows: [*rows[:-1], f"{rows[-1][:-1]}0"], "bars", "bars has other images or labels"),
    ],
    ids=("unchanged", "renamed", "sorted otherwise", "relabelled"),
)
def test_a_test_split_that_may_hold_training_images_is_warned_of(
    change: Callable[[list[str]], list[str]],
    name: str,
    warning: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_dataset(tmp_path / "bars", half(60))
    manifest = write_records([read_dataset(folder)], tmp_path / "records", sizes=[SIZE], seed=0)
    training = card_text().training.model_copy(update={"records": manifest.fingerprint()})
    write_model(tmp_path / "models", brightness_model(size=SIZE, data=manifest.data, training=training))
    head, *rows = (folder / "train.csv").read_text().splitlines()
    (folder / "train.csv").write_text("\n".join([head, *change(rows)]))
    folder = folder.rename(folder.with_name(name))
    write_records([read_dataset(folder)], tmp_path / "records", sizes=[SIZE], seed=0)
    command = ["train", "evaluate", "--records", str(tmp_path / "records"), "--models", str(tmp_path / "models")]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert ("may have learned from" in told, warning in told) == (bool(warning), True)


def test_the_same_file_twice_is_in_one_split_alone(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(60))
    images = folder / "faces-spring-2020/faces-spring-2020"
    for face in (11, 21, 31):
        (images / f"face-{face}.png").write_bytes((images / "face-1.png").read_bytes())
    manifest = write_records([read_dataset(folder)], tmp_path / "records", sizes=[SIZE], seed=0)
    assert sum("is the same file as" in problem for problem in manifest.problems) == 3
    assert sum(manifest.count(split) for split in Split) == 57


def test_fingerprint_depends_on_pixels_and_labels_alone(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return write_records([read_dataset(folder)], folder / "out", sizes=[SIZE], seed=0).data[0].fingerprint

    one, same, other = (write_dataset(tmp_path / name / "set", half(60)) for name in "abc")
    assert fingerprint(one) == fingerprint(same)
    image = other / "faces-spring-2020/faces-spring-2020/face-5.png"
    image.write_bytes(encode(barred(999, False)))
    assert fingerprint(other) != fingerprint(one)
    table = (same / "train.csv").read_text().splitlines()
    table[1] = table[1][:-1] + "1"
    (same / "train.csv").write_text("\n".join(table))
    assert fingerprint(same) != fingerprint(one)


def test_a_logit_that_differs_is_found_too(models: Path, run: Path, records: Path) -> None:
    network = load_fitted(run).network
    wrong = keras.Model(
        network.input,
        {
            "glasses_probability": keras.layers.Activation("sigmoid")(network.output),
            "glasses_logit": keras.layers.Rescaling(-3.0)(network.output),
        },
    )
    images = np.concatenate([load_records(records, split).images for split in Split])
    with pytest.raises(ExportError, match="in glasses_logit"):
        check_graph(wrong, Scorer(ModelStore(models).load()), images)


def test_a_graph_that_computes_something_else_is_not_shipped(models: Path, records: Path) -> None:
    stranger = as_shipped(build_network(Preset(size=SIZE, filters=(4, 8))))
    images = np.concatenate([load_records(records, split).images for split in Split])
    with pytest.raises(ExportError, match="differs"):
        check_graph(stranger, Scorer(ModelStore(models).load()), images)


def test_an_export_is_not_checked_on_a_handful(models: Path, run: Path) -> None:
    model: Model = ModelStore(models).load()
    with pytest.raises(ExportError, match="256"):
        check_graph(as_shipped(load_fitted(run).network), Scorer(model), np.zeros((255, SIZE, SIZE, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--size", "64", "--preset", "gate"], "needs at least 128 pixels"),
        (["--size", "32"], "verified on 256 images, but the records hold 40"),
        (["--size", "32", "--folds", "16"], "takes 15 images of each label outside calibration and test, but 14 are"),
    ],
)
def test_train_all_refuses_invalid_options_before_training(
    arguments: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, work = write_dataset(tmp_path / "bars", half(40)), tmp_path / "work"
    places = ["--data", str(data), "--work", str(work), "--out", str(tmp_path / "models")]
    assert main(["train", "all", *places, *arguments]) == 1
    assert fault in capsys.readouterr().err
    assert not (work / "audit").exists()


@pytest.mark.parametrize(
    "terms",
    [
        ["--licence", "nobody=MIT"],
        ["--source", "no separator"],
        ["--corrections", "bars="],
        ["--source", "bars=one", "--source", "bars=two"],
        ["--corrections", "bars=~nobody-of-this-name/corrections.csv"],
    ],
)
def test_terms_that_cannot_be_used_are_refused(
    data: Path, terms: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", "prepare", "--data", str(data), "--records", str(tmp_path), *terms]) == 1
    assert "lensgate:" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["calibrate", "certify"])
def test_a_run_whose_folder_is_mistyped_leaves_no_folder(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    assert main(["train", step, "--records", str(records), "--run", str(tmp_path / "ftt")]) == 1
    assert "ftt holds no finished run: run `lensgate train fit` first" in capsys.readouterr().err
    assert not (tmp_path / "ftt").exists()


def test_a_path_that_is_empty_or_a_file_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "prepare", "--data", str(data), "--records", ""])
    assert "argument --records: the path is empty" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["train", "prepare", "--data", str(data), "--records", str(tmp_path / "file")]) == 1
    assert "file is a file or lies below one: name a folder" in capsys.readouterr().err


def test_models_that_cannot_be_written_are_refused_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").touch()
    places = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "models")]
    assert main(["train", "all", *places]) == 1
    assert "models is not a folder: name another folder of models" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_names_with_escape_sequences_are_printed_escaped(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "red\x1b[31m"
    assert main(["train", "prepare", "--data", str(data), "--records", str(records)]) == 0
    printed = capfd.readouterr()
    assert "red\\x1b[31m" in printed.out
    assert "\x1b[31m" not in printed.out + printed.err
