"""From a fitted network to its guarantees, and into the exported graph."""

import errno
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit

from gate import Band, ModelStore
from gate.scorer import Scorer
from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from training.data.dataset import Split, read_dataset
from training.data.folds import Mask
from training.data.outliers import JUDGED, LEARNED, make_outliers
from training.data.records import Records, load_records, write_records
from training.errors import DataError, RecordsError
from training.evaluation.certificate import Promise
from training.evaluation.evaluate import score_images
from training.evaluation.guarantees import CALIBRATION_FILE, Guarantees, calibrate_run, certify_run
from training.evaluation.novelty import familiar, load_head, score_novelty, set_threshold
from training.evaluation.raw_band import probability_band
from training.export import export_model
from training.model.preset import Preset
from training.model.train import NETWORK_FILE, fit_network, load_fitted, predict_logits


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(800))
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(folder)], out, sizes=[32], seed=0)
    return out


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    fit_network(records, out, preset=Preset(size=32, filters=(4, 8), epochs=4), seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.novelty.OUTLIERS", 100)
        calibrate_run(records, out, seed=0)
    certify_run(records, out, promise=Promise.equal(0.1))
    return out


@pytest.fixture(scope="module")
def models(records: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    export_model(load_fitted(run), records, out, promised=Guarantees.read(run), command="lensgate train export")
    return out


def test_temperature_band_and_threshold_are_in_graph_and_card(models: Path, run: Path, records: Path) -> None:
    model, promised = ModelStore(models).load(), Guarantees.read(run)
    card = model.card
    assert card.outputs == ("glasses_probability", "glasses_logit", "novelty")
    assert card.calibration.temperature == promised.temperature
    assert card.band.chosen_by == "certified"
    assert card.band.low <= 0.03 and card.band.high >= 0.97
    assert promised.certificate is not None
    assert Band(card.band.low, card.band.high) == probability_band(promised.certificate.band, promised.temperature)
    test = load_records(records, Split.TEST)
    found = Scorer(model, device="cpu").run(test.images)
    logits = predict_logits(load_fitted(run).network, test.images) / promised.temperature
    np.testing.assert_allclose(found["glasses_logit"], logits, atol=1e-3)
    np.testing.assert_allclose(found["glasses_probability"], expit(logits), atol=1e-5)
    novelty = score_novelty(load_fitted(run).network, load_head(run), test.images)
    np.testing.assert_allclose(found["novelty"], novelty, atol=1e-3)


def test_good_faces_are_kept_and_what_is_no_portrait_is_not(models: Path, records: Path) -> None:
    model = ModelStore(models).load()
    scorer, card = Scorer(model, device="cpu"), model.card
    test = load_records(records, Split.TEST)
    assert score_images(scorer, card, test.images).unfamiliar.mean() < 0.1
    assert card.metrics["bars"].unfamiliar is not None
    assert card.novelty_threshold is not None
    assert set(card.novelty_threshold.kinds) == set(JUDGED)
    for kind in ("black", "white", "noise", "upside down"):
        assert card.novelty_threshold.kinds[kind].discarded.value > 0.9, kind


def test_a_certificate_counts_only_calibration_images_below_the_threshold(run: Path, records: Path) -> None:
    certificate = Guarantees.read(run).certificate
    calibration = load_records(records, Split.CALIBRATION)
    assert certificate is not None
    findings = Guarantees.read(run).novelty
    assert findings is not None
    kept = familiar(score_novelty(load_fitted(run).network, load_head(run), calibration.images), findings)
    assert certificate.familiar == kept.sum() == len(calibration) - findings.above - 1
    assert certificate.images == len(calibration)


def test_a_threshold_lets_one_in_two_hundred_go() -> None:
    novelty = np.random.default_rng(0).normal(size=515)
    found = set_threshold(novelty)
    assert (found.images, found.above) == (515, 2)
    assert (novelty.astype(np.float32) > np.float32(found.threshold)).sum() == 2
    assert familiar(novelty, found).sum() == 512
    tied = set_threshold(np.append(np.zeros(995), np.ones(5 + 300)))
    assert (tied.threshold, tied.images, tied.above) == (1.0, 1300, 0)
    with pytest.raises(DataError, match="none"):
        set_threshold(np.array([]))


def test_findings_of_another_fit_are_refused(run: Path, records: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="no finished run"):
        calibrate_run(records, tmp_path, seed=0)
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / NETWORK_FILE).write_bytes(b"another")
    with pytest.raises(RecordsError, match="another fit"):
        Guarantees.read(tmp_path)
    (tmp_path / CALIBRATION_FILE).write_text("{}")
    with pytest.raises(RecordsError, match="cannot be read"):
        Guarantees.read(tmp_path)
    (tmp_path / CALIBRATION_FILE).unlink()
    assert Guarantees.read(tmp_path) == Guarantees()


def test_a_full_disk_leaves_the_calibration_and_the_certificate_before(
    run: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before, head = Guarantees.read(run), load_head(run)
    monkeypatch.setattr("training.evaluation.guarantees.fit_head", lambda *_, **__: head)
    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        calibrate_run(records, run, seed=1)
    after = Guarantees.read(run)
    assert (after.certificate, after.novelty) == (before.certificate, before.novelty)
    assert after.certificate is not None


def test_where_nothing_is_certified_the_papers_band_stays(run: Path, records: Path) -> None:
    found = certify_run(records, run, promise=Promise.equal(0.0001))
    assert not found.certificate.certified
    assert all(one.images_needed is None or one.images_needed > 0 for one in found.certificate.classes.values())
    band = Guarantees.read(run).card_band()
    assert (band.low, band.high, band.chosen_by) == (0.4, 0.6, "paper")
    certify_run(records, run, promise=Promise.equal(0.1))


def test_every_face_is_scored_by_a_network_that_was_not_trained_on_it(
    run: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("training.evaluation.novelty.EPOCHS", 1)
    monkeypatch.setattr("training.evaluation.novelty.OUTLIERS", 50)
    said: list[str] = []
    found = certify_run(records, tmp_path, promise=Promise.equal(0.05), folds=3, say=said.append)
    folders = [tmp_path / "folds" / name / "records" for name in ("2-of-3", "3-of-3")]
    held = [load_records(folder, Split.CALIBRATION) for folder in (records, *folders)]
    names = [name for part in held for name in part.names]
    outside_test = load_records(records, Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
    assert sorted(names) == sorted(outside_test.names)
    for folder, part in zip(folders, held[1:], strict=True):
        learned = load_records(folder, Split.TRAIN, Split.VALIDATION)
        assert not set(learned.names) & set(part.names)
        assert len(learned) + len(part) == len(names)
        assert 0.2 < part.labels.mean() < 0.8
        assert load_records(folder, Split.TEST).names == load_records(records, Split.TEST).names
    assert (found.certificate.folds, found.certificate.images) == (3, len(names))
    assert [line.split(":")[0] for line in said] == ["fold 2 of 3", "fold 3 of 3"]
    assert found.held_out == certify_run(records, run, promise=Promise.equal(0.05)).certificate
    # The networks and scores of an interrupted run are used again.
    monkeypatch.setattr("training.model.train.train_network", None)
    monkeypatch.setattr("training.evaluation.cross_fit.fit_head", None)
    assert certify_run(records, tmp_path, promise=Promise.equal(0.05), folds=3) == found


@pytest.mark.parametrize("step", [["certify"], ["all", "--data", "x"]])
def test_a_second_fold_without_a_third_is_refused_before_any_work(
    step: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *step, "--folds", "2"])
    assert "--folds: the second of 2 networks would have no faces to validate on" in capsys.readouterr().err


def test_a_fold_with_the_whole_validation_split_is_refused_before_any_work(
    records: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = load_records(records, Split.VALIDATION).names

    def split(faces: Records, **_: object) -> list[Mask]:
        held_out = np.isin(faces.names, watched)
        return [held_out, ~held_out]

    monkeypatch.setattr("training.evaluation.cross_fit.split_folds", split)
    monkeypatch.setattr("training.evaluation.cross_fit.fit_network", None)
    with pytest.raises(DataError, match="images to stop early by are all in one of the 3 folds: use more"):
        certify_run(records, run, promise=Promise.equal(0.05), folds=3)


def test_outliers_repeat_with_their_seed_and_differ_from_their_faces(records: Path) -> None:
    faces = load_records(records, Split.TEST).images[:8]
    for kinds in (LEARNED, JUDGED):
        one, same, other = (make_outliers(faces, kinds, seed=seed) for seed in (1, 1, 2))
        for kind, images in one.items():
            assert images.shape == faces.shape, kind
            assert images.dtype == np.uint8, kind
            np.testing.assert_array_equal(images, same[kind])
            assert all(np.abs(a.astype(int) - b).max() > 10 for a, b in zip(images, faces, strict=True)), kind
        assert not np.array_equal(one["noise"], other["noise"])


def test_a_photograph_is_never_learned_from() -> None:
    assert "photographs" in JUDGED
    assert not {"photographs", "text, printed", "drawings, shipped"} & set(LEARNED)
