"""The network with two towers, and the pictures drawn from training portraits for it."""

import numpy as np
import pytest
import tensorflow as tf

from gate.pixels import Pixels
from gate.scorer import Scorer
from tests.support.models import card_text, model_of
from training.data.eye_exchange import exchange_eyes
from training.data.records import Records, join
from training.drawing import Eyewear, draw_face
from training.drawing.on_portrait import LABELS, MIN_CHANGE, Addition, add_to_portraits, locate_eyes
from training.errors import DataError
from training.export import to_onnx
from training.model.additions import with_additions
from training.model.network import as_shipped, build_network, logit_accuracy, logit_loss, training_model
from training.model.preset import PRESETS, Preset
from training.model.train import train_network

TOWERS = Preset(
    size=128,
    filters=(4, 8),
    band_filters=(4, 8),
    normalisation="before activation",
    head="average and maximum",
    epochs=1,
    patience=0,
    batch_size=8,
)


@pytest.fixture(scope="module")
def portraits() -> Pixels:
    return np.stack([np.asarray(draw_face(np.random.default_rng(seed), Eyewear.NONE, size=128)) for seed in range(12)])


def records(portraits: Pixels) -> Records:
    count = len(portraits)
    labels = np.arange(count) % 3 == 0
    names = tuple(f"face {number}" for number in range(count))
    return Records(portraits, labels.astype(np.float32), names, ("drawn",) * count, ("",) * count)


def test_the_logit_is_the_weighted_sum_of_both_towers(portraits: Pixels) -> None:
    found = training_model(build_network(TOWERS)).predict(portraits.astype(np.float32), verbose=0)
    total, whole, band = np.asarray(found).T
    np.testing.assert_allclose(total, 0.3 * whole + band, atol=1e-5)


def test_loss_and_accuracy_of_one_and_of_two_towers() -> None:
    logits = np.array([2.0, -1.0], np.float32)
    labels = np.array([1.0, 1.0], np.float32)
    expected = np.log1p(np.exp(-logits))
    np.testing.assert_allclose(logit_loss(labels, tf.constant(logits)), expected, rtol=1e-6)
    three = np.stack([logits, logits * 0, logits * 2], axis=1)
    towers = (np.log(2) + np.log1p(np.exp(-2 * logits))) / 2
    np.testing.assert_allclose(logit_loss(labels, tf.constant(three)), towers, rtol=1e-6)
    assert logit_accuracy(labels, tf.constant(three)).numpy().tolist() == [1.0, 0.0]
    assert logit_accuracy(labels, tf.constant(logits)).numpy().tolist() == [1.0, 0.0]


def test_two_towers_train_and_export_with_equal_answers(portraits: Pixels) -> None:
    preset = TOWERS.changed(augment=0.5)
    trained = train_network(records(portraits), records(portraits), preset=preset, seed=0)
    assert trained.history.keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
    shipped = as_shipped(trained.network)
    expected = shipped.predict(portraits.astype(np.float32), verbose=0)
    found = Scorer(model_of(to_onnx(shipped, 128), card_text(size=128)), device="cpu").run(portraits)
    np.testing.assert_allclose(found["glasses_logit"], expected["glasses_logit"], rtol=1e-4, atol=1e-5)


def test_small_images_have_no_second_tower() -> None:
    with pytest.raises(DataError, match="at least 128 pixels"):
        PRESETS["gate"].changed(size=64)


def test_eyes_are_found_where_a_face_was_moved_to(portraits: Pixels) -> None:
    moved = portraits.copy()
    moved[0] = np.roll(portraits[0], (6, -5), axis=(0, 1))
    before, _, _ = locate_eyes(portraits)
    after, _, _ = locate_eyes(moved)
    np.testing.assert_allclose(after[0] - before[0], (-5 / 128, 6 / 128), atol=2 / 128)
    np.testing.assert_allclose(before.mean(axis=0), (0.5, 0.47), atol=0.03)


@pytest.mark.parametrize("kind", Addition)
def test_additions_repeat_with_their_seed_and_stay_near_the_eyes(portraits: Pixels, kind: Addition) -> None:
    (drawn, index), (same, _), (other, _) = (add_to_portraits(portraits, kind, seed=seed) for seed in (1, 1, 2))
    assert len(drawn) == len(index) >= 10
    np.testing.assert_array_equal(drawn, same)
    assert (drawn != other).any()
    changed = (drawn != portraits[index]).any(axis=-1)
    assert changed.any(axis=(1, 2)).all()
    assert not changed[:, :25].any()
    assert not changed[:, 95:].any()


def test_a_ghost_that_cannot_be_seen_is_left_out(portraits: Pixels) -> None:
    many = np.concatenate([portraits] * 8)
    drawn, index = add_to_portraits(many, Addition.GHOST, seed=4)
    change = np.abs(drawn.astype(float) - many[index]).mean(axis=-1).reshape(len(drawn), -1)
    assert 0.7 * len(many) < len(drawn) < len(many)
    assert np.sort(change, axis=1)[:, -11:].mean(axis=1).min() >= MIN_CHANGE
    # A face with creases keeps its label, so it does not matter whether they can be seen.
    assert len(add_to_portraits(many, Addition.CREASES, seed=4)[1]) == len(many)


def test_image_without_a_face_gets_no_addition(portraits: Pixels) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    _, index = add_to_portraits(np.concatenate([portraits, noise]), Addition.THIN_FRAMES, seed=0)
    assert index.max() < len(portraits)


def test_exchanged_eyes_keep_their_label_on_a_face_without_glasses(portraits: Pixels) -> None:
    labels = records(portraits).labels
    (pictures, found, onto), (same, _, _) = (exchange_eyes(portraits, labels, 20, seed=3) for _ in range(2))
    np.testing.assert_array_equal(pictures, same)
    assert pictures.shape == (20, 128, 128, 3)
    assert found.tolist() == [1.0] * 10 + [0.0] * 10
    assert not labels[onto].any()
    eyes, others = pictures[:, 52:70, 32:96], portraits[:, 52:70, 32:96]
    for picture, label in zip(eyes, found, strict=True):
        assert any((picture == other).all() for other in others[labels == label])
    around = np.ones((128, 128), bool)
    around[42:80, 19:109] = False
    np.testing.assert_array_equal(pictures[:, around], portraits[onto][:, around])


@pytest.mark.parametrize(("label", "count"), [(0.0, 4), (1.0, 4), (None, 0)])
def test_no_eyes_are_exchanged_without_both_labels(portraits: Pixels, label: float | None, count: int) -> None:
    labels = records(portraits).labels if label is None else np.full(len(portraits), label, np.float32)
    pictures, found, onto = exchange_eyes(portraits, labels, count, seed=0)
    assert (len(pictures), len(found), len(onto)) == (0, 0, 0)


def test_additions_follow_the_shares_and_draw_on_faces_without_glasses(portraits: Pixels) -> None:
    train = records(portraits)
    assert with_additions(train, TOWERS, seed=0) is train
    preset = TOWERS.changed(thin_frames=1.0, ghosts=0.5, creases=0.25)
    found = with_additions(train, preset, seed=0)
    np.testing.assert_array_equal(found.images[:12], portraits)
    added = found.labels[12:]
    counts = {kind: int((added == LABELS[kind]).sum()) for kind in Addition}
    assert counts[Addition.THIN_FRAMES] > counts[Addition.GHOST] > counts[Addition.CREASES] > 0
    without = {name for name, label in zip(train.names, train.labels, strict=True) if not label}
    assert set(found.names[12:]) <= without


def test_eyes_are_exchanged_within_a_data_set(portraits: Pixels) -> None:
    dark = records(portraits // 2)
    dark = Records(dark.images, dark.labels, dark.names, ("dark",) * 12, dark.sources)
    found = with_additions(join(records(portraits), dark), TOWERS.changed(exchanged_eyes=0.5), seed=0)
    assert found.labels[24:].tolist() == ([1.0] * 3 + [0.0] * 3) * 2
    assert found.data_sets[24:] == ("drawn",) * 6 + ("dark",) * 6
    assert found.images[30:].max() < 128 < found.images[24:30].max()
