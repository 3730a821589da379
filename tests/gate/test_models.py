import json
from pathlib import Path

import pytest

from gate import Card, ModelError, ModelStore
from gate.models import write_whole
from tests.support.models import brightness_model, write_model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for version in ("2", "10"):
        write_model(tmp_path, brightness_model(version))
    return ModelStore(tmp_path)


def test_versions_are_in_natural_order(store: ModelStore) -> None:
    assert store.versions() == ["2", "10"]


def test_the_current_version_is_loaded_unless_another_is_named(store: ModelStore) -> None:
    assert store.load().card.version == "10"
    assert store.load("2").card.version == "2"


def test_promotion_changes_what_is_current(store: ModelStore) -> None:
    store.promote("2")
    assert store.current() == "2"


def test_a_version_that_is_broken_is_not_promoted(store: ModelStore) -> None:
    (store.folder / "2/model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="hashes differ"):
        store.promote("2")
    assert store.current() == "10"


@pytest.mark.parametrize("version", ["3", "..", "../glasses/2", ""])
def test_a_version_that_is_not_there_is_refused(store: ModelStore, version: str) -> None:
    with pytest.raises(ModelError, match="there is no model"):
        store.load(version)


def test_a_folder_without_models_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train a model"):
        ModelStore(tmp_path / "nowhere").load()


def test_an_empty_current_is_refused(store: ModelStore) -> None:
    (store.folder / "CURRENT").write_text("\n")
    with pytest.raises(ModelError, match="is empty"):
        store.load()


def test_a_model_without_a_card_is_refused(store: ModelStore) -> None:
    (store.folder / "2/card.json").unlink()
    with pytest.raises(ModelError, match="incomplete"):
        store.load("2")


def test_a_card_of_another_version_is_refused(store: ModelStore) -> None:
    text = (store.folder / "10/card.json").read_text()
    (store.folder / "2/card.json").write_text(text)
    with pytest.raises(ModelError, match="version '10'"):
        store.load("2")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"band": {"low": 0.7, "high": 0.3}}, "band"),
        ({"calibration": {"temperature": 0}}, "calibration.temperature"),
        ({"surprise": 1}, "surprise"),
        ({"reference_histogram": {"edges": [0, 1], "counts": [1, 2]}}, "reference_histogram"),
        ({"reference_histogram": {"edges": [0, 1, 1], "counts": [1, 2]}}, "reference_histogram"),
        ({"reference_histogram": {"edges": [0, 1], "counts": [0]}}, "reference_histogram"),
        ({"version": "../1"}, "version"),
    ],
)
def test_a_card_that_is_not_valid_says_where(change: dict[str, object], named: str) -> None:
    fields = json.loads(brightness_model().card.model_dump_json())
    with pytest.raises(ModelError, match=named):
        Card.parse(json.dumps({**fields, **change}))


def test_a_card_comes_back_as_it_was_written() -> None:
    card = brightness_model().card
    assert Card.parse(card.model_dump_json()) == card


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    write_whole(path, b"1")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]
