import os
from pathlib import Path

import pytest

from tests.support.datasets import half, write_dataset
from training.data.dataset import read_dataset, read_unlabelled
from training.errors import DataError


@pytest.mark.parametrize("latents", [0, 512], ids=["without latents", "with latents"])
@pytest.mark.parametrize(
    ("images", "kind"),
    [("faces-spring-2020/faces-spring-2020", "PNG"), ("faces", "JPEG"), ("faces-spring-2020", "WEBP"), (".", "PNG")],
)
def test_the_kaggle_layout_and_its_relatives_are_read(tmp_path: Path, images: str, kind: str, latents: int) -> None:
    data = read_dataset(write_dataset(tmp_path / "set", half(6), images=images, kind=kind, latents=latents))
    assert [(example.name, example.glasses) for example in data.train[:2]] == [("face-1", False), ("face-2", True)]
    assert (len(data.train), data.test, data.problems, data.name) == (6, (), (), "set")


def test_images_in_a_second_folder_are_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(4), images="faces-spring-2020")
    (folder / "faces").symlink_to("faces-spring-2020")
    assert read_dataset(folder).problems == ()
    (folder / "faces").unlink()
    (folder / "faces").mkdir()
    (folder / "faces-spring-2020/face-4.png").rename(folder / "faces/face-4.png")
    assert read_dataset(folder).problems == (
        f"the images in {folder}/faces are ignored, because {folder}/faces-spring-2020 has some: move them there",
        "train.csv line 5: face-4 has no image",
    )


def test_a_test_table_with_labels_and_one_without(tmp_path: Path) -> None:
    labelled = read_dataset(write_dataset(tmp_path / "a", half(4), test=half(2, first=5)))
    assert [example.glasses for example in labelled.test] == [False, True]
    bare = read_dataset(write_dataset(tmp_path / "b", half(4), test={5: None}))
    assert [example.glasses for example in bare.test] == [None]


@pytest.mark.parametrize(
    "text",
    ["id\n3\n4\n", "id,glasses\n3,\n4,\n", "id,glasses\n3,NA\n4,NA\n", "id,glasses\n3,NaN\n4,null\n"],
    ids=["no column", "an empty column", "R", "pandas and databases"],
)
def test_a_test_table_without_any_label_is_unlabelled(tmp_path: Path, text: str) -> None:
    folder = write_dataset(tmp_path / "set", half(4))
    (folder / "test.csv").write_text(text)
    data = read_dataset(folder)
    assert ([one.glasses for one in data.test], data.problems) == ([None, None], ())
    assert [one.name for one in read_unlabelled(folder)[0]] == ["face-3", "face-4"]


@pytest.mark.parametrize(
    ("file", "given"),
    [
        ("face-v2.0.png", "v2.0"),
        ("face-2.0.png", "face-2.0.png"),
        ("face-cafe\u0301.png", "caf\u00e9"),
        ("face-caf\u00e9.png", "cafe\u0301"),
    ],
)
def test_an_image_is_found_by_any_spelling_of_its_name(tmp_path: Path, file: str, given: str) -> None:
    folder = write_dataset(tmp_path / "set", half(2), images="faces")
    (folder / "faces/face-1.png").rename(folder / "faces" / file)
    (folder / "train.csv").write_text(f"id,glasses\n{given},1\n", encoding="utf-8")
    (folder / "corrections.csv").write_text(f"id,label,reason\n{given},no_glasses,seen\n", encoding="utf-8")
    (one,) = read_dataset(folder).train
    assert (one.path.name, one.glasses) == (file, False)


def test_numbers_that_became_floats_are_understood(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    (folder / "train.csv").write_text("id,glasses\n1.0,0.0\n2.00,1.00\n")
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
        "train.csv line 6: face-9 has no image",
        "train.csv line 7: face-3 is listed twice; the first line (4) counts, which has another label",
        "train.csv line 8: face-5 has the label '2' instead of 0 or 1",
        "train.csv line 9: face-6 has the label '' instead of 0 or 1",
    )


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (None, "does not exist"),
        ("id,v1\n1,0\n", "no column glasses"),
        ("id,glasses\n77,1\n", "no labelled image"),
        ("", "needs the column"),
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
    with pytest.raises(DataError, match=r"about\.json.*: license: is not known$"):
        read_dataset(folder)
    (folder / "about.json").write_text('\ufeff{"source": "an editor with a byte order mark"}')
    assert read_dataset(folder).about.source == "an editor with a byte order mark"


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    with pytest.raises(DataError, match="mistyped does not exist: --data takes a folder"):
        read_dataset(tmp_path / "mistyped")
    with pytest.raises(DataError, match=r"train\.csv is not a folder"):
        read_dataset(folder / "train.csv")


def test_what_is_listed_for_testing_is_not_trained_on(tmp_path: Path) -> None:
    data = read_dataset(write_dataset(tmp_path / "set", half(40), test={3: 0, 4: 1, 100: 0}))
    assert not {example.name for example in data.train} & {example.name for example in data.test}
    assert "train.csv: face-4 is also in test.csv and reserved for testing" in data.problems


def test_what_has_an_unusable_label_for_testing_is_not_trained_on(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(40))
    (folder / "test.csv").write_text("id,glasses\n3,0\n4,True\n")
    data = read_dataset(folder)
    assert not {"face-3", "face-4"} & {example.name for example in data.train}
    assert "test.csv line 3: face-4 has the label 'True' instead of 0 or 1" in data.problems
    (folder / "test.csv").write_text("id,glasses\n3,False\n4,True\n")
    with pytest.raises(DataError, match=r"test\.csv has no usable row.*'False' instead of 0 or 1"):
        read_dataset(folder)


def test_a_table_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"id,glasses\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_dataset(tmp_path)


def test_corrections_replace_labels_and_leave_out_what_is_unclear(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(6), test=half(2, first=10))
    corrections = "id,label,reason\n1,glasses,seen\nface-2,unclear,hair\n10,glasses,\n99,no_glasses,?\n"
    (folder / "corrections.csv").write_text(corrections)
    data = read_dataset(folder)
    assert [(one.name, one.glasses, one.given) for one in data.train[:2]] == [
        ("face-1", True, False),
        ("face-3", False, False),
    ]
    assert data.test[0].glasses is True
    assert data.problems == (
        "corrections: face-2 is left out as unclear: hair",
        "corrections: face-99 has no usable row with a label in train.csv or test.csv",
    )


def test_corrections_do_not_make_a_test_split_of_a_table_without_labels(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(6), test={10: None, 11: None})
    (folder / "corrections.csv").write_text("id,label,reason\n10,glasses,\n11,no_glasses,\n")
    data = read_dataset(folder)
    assert [one.glasses for one in data.test] == [None, None]
    assert data.problems == (
        "corrections: face-10 has no usable row with a label in train.csv or test.csv",
        "corrections: face-11 has no usable row with a label in train.csv or test.csv",
    )


def test_a_test_table_that_corrections_call_unclear_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(6), test={10: 1})
    (folder / "corrections.csv").write_text("id,label,reason\n10,unclear,hair\n")
    with pytest.raises(DataError, match=r"test\.csv has no usable row.*face-10 is left out as unclear: hair"):
        read_dataset(folder)


def test_images_that_no_table_lists_are_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(8), test={9: None}, latents=0)
    (folder / "train.csv").write_text("id,glasses\n1,0\n2,1\n3,0\n4,\n")
    assert read_dataset(folder).problems == (
        "train.csv line 5: face-4 has the label '' instead of 0 or 1",
        "no row of train.csv or test.csv names 4 images: face-5.png, face-6.png, face-7.png ...",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [("id,label\n", "no column reason"), ("id,label,reason\n1,maybe,\n", "'maybe'"), (None, "does not exist")],
)
def test_corrections_that_are_none_are_refused(tmp_path: Path, text: str | None, fault: str) -> None:
    table = tmp_path / "mine.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(DataError, match=fault):
        read_dataset(write_dataset(tmp_path / "set", half(4)), corrections=table)


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,glasses\n")
    with pytest.raises(DataError, match=r"no labelled image was found under .*: train\.csv has no rows; an image"):
        read_dataset(tmp_path)


def test_a_folder_without_images_is_told_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,glasses\n1,0\n")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"id 1 is face-1\.png .* in faces-spring-2020/faces-spring-2020"):
        read_dataset(tmp_path)


def test_a_data_set_has_the_name_of_its_folder_however_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    monkeypatch.chdir(folder / "faces-spring-2020")
    assert read_dataset(Path("..")).name == "set"
    unnamed = folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert read_dataset(unnamed).name == r"caf\xe9"


def test_a_source_column_is_read(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2))
    (folder / "train.csv").write_text("id,glasses,source\n1,0,progan\n2,1,\n")
    assert [one.source for one in read_dataset(folder).train] == ["progan", ""]
