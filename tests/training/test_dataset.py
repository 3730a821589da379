from pathlib import Path

import pytest

from tests.support.datasets import half, write_dataset
from training.dataset import Split, read_dataset
from training.errors import DataError
from training.split import split_dataset


@pytest.mark.parametrize("latents", [0, 512], ids=["without latents", "with latents"])
@pytest.mark.parametrize(
    ("images", "kind"),
    [("faces-spring-2020/faces-spring-2020", "PNG"), ("faces", "JPEG"), ("faces-spring-2020", "WEBP"), (".", "PNG")],
)
def test_the_kaggle_layout_and_its_relatives_are_read(tmp_path: Path, images: str, kind: str, latents: int) -> None:
    data = read_dataset(write_dataset(tmp_path / "set", half(6), images=images, kind=kind, latents=latents))
    assert [(example.name, example.glasses) for example in data.train[:2]] == [("face-1", False), ("face-2", True)]
    assert (len(data.train), data.test, data.problems, data.name) == (6, (), (), "set")


def test_a_test_table_with_labels_and_one_without(tmp_path: Path) -> None:
    labelled = read_dataset(write_dataset(tmp_path / "a", half(4), test=half(2, first=5)))
    assert [example.glasses for example in labelled.test] == [False, True]
    bare = read_dataset(write_dataset(tmp_path / "b", half(4), test={5: None}))
    assert [example.glasses for example in bare.test] == [None]


def test_numbers_that_became_floats_are_understood(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    (folder / "train.csv").write_text("id,glasses\n1.0,0.0\n2.0,1.0\n")
    assert [(example.name, example.glasses) for example in read_dataset(folder).train] == [
        ("face-1", False),
        ("face-2", True),
    ]


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(4))
    with (folder / "train.csv").open("a") as table:
        table.write("9,0,0,0,0,1\n3,0,0,0,0,1\n5,0,0,0,0,2\n6,0,0,0,0,\n")
    problems = read_dataset(folder).problems
    assert problems == (
        "train.csv: face-9 has no image",
        "train.csv: face-3 is listed twice; the first line counts",
        "train.csv: face-5 has the label '2' instead of 0 or 1",
        "train.csv: face-6 has the label '' instead of 0 or 1",
    )


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (None, "does not exist"),
        ("id,v1\n1,0\n", "no column glasses"),
        ("id,glasses\n77,1\n", "not one labelled image"),
        ("", "no column"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, table: str | None, fault: str) -> None:
    if table is not None:
        (tmp_path / "train.csv").write_text(table)
    with pytest.raises(DataError, match=fault):
        read_dataset(tmp_path)


def test_source_and_licence_are_read_from_beside_the_images(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    assert read_dataset(folder).about.licence == "not stated"
    (folder / "about.json").write_text('{"source": "here", "licence": "MIT"}')
    assert read_dataset(folder).about.source == "here"
    (folder / "about.json").write_text('{"license": "MIT"}')
    with pytest.raises(DataError, match=r"about\.json"):
        read_dataset(folder)


def test_what_is_listed_for_testing_is_not_trained_on(tmp_path: Path) -> None:
    data = read_dataset(write_dataset(tmp_path / "set", half(40), test={3: 0, 4: 1, 100: 0}))
    assert not {example.name for example in data.train} & {example.name for example in data.test}
    assert "train.csv: face-4 is in test.csv too, and kept for testing" in data.problems


def test_a_table_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"id,glasses\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_dataset(tmp_path)


def test_a_split_is_stratified_complete_and_repeats_with_its_seed(tmp_path: Path) -> None:
    labels = {index: int(index % 5 == 0) for index in range(1, 101)}
    data = read_dataset(write_dataset(tmp_path / "set", labels))
    splits = split_dataset(data, seed=3)
    names = [example.name for part in splits.values() for example in part]
    assert sorted(names) == sorted(example.name for example in data.train)
    assert {split: len(part) for split, part in splits.items()} == {"train": 72, "validation": 13, "test": 15}
    for part in splits.values():
        assert sum(bool(example.glasses) for example in part) / len(part) == pytest.approx(0.2, abs=0.05)
    assert split_dataset(data, seed=3) == splits
    assert split_dataset(data, seed=4) != splits


def test_a_labelled_test_table_is_the_test_split(tmp_path: Path) -> None:
    data = read_dataset(write_dataset(tmp_path / "set", half(40), test=half(6, first=100)))
    splits = split_dataset(data, seed=0)
    assert splits[Split.TEST] == list(data.test)
    assert len(splits[Split.TRAIN]) + len(splits[Split.VALIDATION]) == 40


@pytest.mark.parametrize("with_glasses", [1, 2])
def test_a_data_set_with_too_few_of_a_label_says_so(with_glasses: int, tmp_path: Path) -> None:
    labels = {index: int(index <= with_glasses) for index in range(1, 101)}
    data = read_dataset(write_dataset(tmp_path / "set", labels))
    with pytest.raises(DataError, match="cannot be split by label"):
        split_dataset(data, seed=0)
