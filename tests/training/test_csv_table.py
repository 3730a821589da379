"""Tables as people and spreadsheets write them: each line is read or named."""

import gzip
from pathlib import Path

import pytest

from tests.support.datasets import half, write_dataset
from training.data.csv_table import read_table
from training.data.dataset import read_corrections, read_dataset
from training.errors import DataError


def names(folder: Path, text: str | bytes) -> list[str]:
    (folder / "train.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return [f"{one.name}={one.glasses:d}" for one in read_dataset(folder).train]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "set", half(6))


@pytest.mark.parametrize(
    "text",
    [
        "id,glasses\n1,0\n2,1\n",
        "id,glasses\r\n1,0\r\n2,1\r\n",
        "id,glasses\r1,0\r2,1",
        "\ufeffid,glasses\n\n1,0\n \n2,1\n\n",
        'id,glasses\n"1","0"\nface-2.0,"1.0"\n',
        " id , glasses,\n1, 0,\n2 ,1 ,\n",
        "id,glasses\n1,0,,\n2,1,\n",
        'id,glasses,note\n1,0,"a ""word"", said"\n2,1,it\'s\n',
        "id,glasses\nface-1.png,0\n2.JPG,1\n",
        'id, "glasses"\n"1", "0"\n"2", "1"\n',
    ],
    ids=[
        "LF",
        "CRLF",
        "CR",
        "byte order mark",
        "quoted",
        "spaces",
        "trailing commas",
        "quotes in a cell",
        "file names",
        "spaces before quotes",
    ],
)
def test_csv_of_spreadsheets_is_read(text: str, folder: Path) -> None:
    assert names(folder, text) == ["face-1=0", "face-2=1"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('id,glasses\n1,0\n"2,1\n3,0\n', "line 3: a quotation mark is not closed"),
        ('id,glasses\n1,0\n"2,1\n3,0\n4,1"\n5,0\n', "line 3: a quotation mark is not closed"),
        ('id,glasses,source\n1,0,"a\n2,1,b\n3,0,c"\n', "line 2: a quotation mark is not closed"),
        ('id,glasses\n"1,0\n' + "".join(f"{n},{n % 2}\n" for n in range(30_000)), "line 2: a quotation mark"),
        ('id,glasses\n"1"0,1\n', "line 2: .* quote the whole cell"),
        (f"id,glasses\n1,{'0' * 200_000}\n", "line 2: a cell has more than 131,072 characters; is this"),
        (f"id,glasses\n1,{'0' * 2_000_000}\n", "line 2 has more than 1,048,576 characters"),
        ("id,glasses\n1,0\0\n", "line 2 contains a NUL character"),
        ("id,glasses\n1,0\n".encode("utf-16"), "line 1 contains a NUL character: save the table as UTF-8"),
        (
            ("id,glasses,n\n" + "1,0,\xe9\n" * 9_000 + "2,1,caf").encode() + b"\xe9\n",
            "line 9002 has the byte 0xE9, which",
        ),
        ("id,glasses\n1,0\n".encode("utf-16-le"), "line 1 contains a NUL character"),
        ("id;glasses\n1;0\n", "its cells are separated by semicolons; separate them by commas"),
        ("id\tglasses\n1\t0\n", "separated by tabs"),
        ("sep=,\nid,glasses\n1,0\n", "no column glasses or id: delete the first line"),
        ("id,Glasses\n1,0\n", "no column glasses, only id, Glasses"),
        ("id,glasses,Glasses\n1,0,1\n", "has a column 'Glasses': call it glasses"),
        ("id,glasses,glasses\n1,0,1\n", "has the column glasses twice"),
        ("id,glasses,Source\n1,0,x\n", "has a column 'Source': call it source"),
        (b"PK\x03\x04\x14\x00\xa4", "is a ZIP archive or a workbook of a spreadsheet: unpack it"),
        (gzip.compress(b"id,glasses\n1,0\n", mtime=0), "is gzip data: unpack it"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run `git lfs pull`"),
        ("", "is empty"),
        ("\n \n", "is empty"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_with_its_line(text: str | bytes, fault: str, folder: Path) -> None:
    with pytest.raises(DataError, match=fault):
        names(folder, text)


def test_every_row_is_read_or_named_with_its_line(folder: Path) -> None:
    lines = [
        "id,glasses,source",
        "1,0,a",
        "2",
        "3,yes,a",
        "4,true,a",
        "5,2,a",
        "6,1,a,b",
        "1,1,a",
        ",,a",
        "99,1,a",
        '6,1,"a, b"',
    ]
    assert names(folder, "\n".join(lines)) == ["face-1=0", "face-6=1"]
    assert read_dataset(folder).problems == (
        "train.csv line 3: face-2 has 1 cell instead of 3",
        "train.csv line 4: face-3 has the label 'yes' instead of 0 or 1",
        "train.csv line 5: face-4 has the label 'true' instead of 0 or 1",
        "train.csv line 6: face-5 has the label '2' instead of 0 or 1",
        "train.csv line 7: face-6 has 4 cells instead of 3",
        "train.csv line 8: face-1 is listed twice; the first line (2) counts, which has another label",
        "train.csv line 9: the row has no id",
        "train.csv line 10: face-99 has no image",
    )


def test_a_row_that_ends_before_its_id_is_named(folder: Path) -> None:
    assert names(folder, "source,glasses,id\na,1\na,0,1\n") == ["face-1=0"]
    assert read_dataset(folder).problems[0] == "train.csv line 2: the row has 2 cells instead of 3"


def test_labels_of_a_test_table_are_not_lost_by_a_misspelt_column(folder: Path) -> None:
    (folder / "test.csv").write_text("id,GLASSES\n1,0\n")
    with pytest.raises(DataError, match="has a column 'GLASSES': call it glasses"):
        read_dataset(folder)
    (folder / "test.csv").write_text("id,v1,label\n1,0.5,0\n")
    assert read_dataset(folder).problems == (
        "test.csv has no column glasses, so no labels, only label beside those of train.csv",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('1,glasses,"oops\n2,no_glasses,x\n3,glasses,fine"\n', "line 2: a quotation mark is not closed"),
        ("1,glasses,hair, or a hat\n", "line 2 has 4 cells instead of 3: quote a reason that contains a comma"),
        ("1,glasses\n", "line 2 has 2 cells instead of 3"),
        ("1,maybe,\n", "line 2: 1 has the label 'maybe'"),
    ],
)
def test_corrections_are_held_to_the_same(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text(f"id,label,reason\n{text}")
    with pytest.raises(DataError, match=fault):
        read_corrections(tmp_path / "corrections.csv")


def test_two_images_of_one_name_are_named(folder: Path) -> None:
    images = folder / "faces-spring-2020/faces-spring-2020"
    (images / "face-1.jpg").write_bytes((images / "face-1.png").read_bytes())
    assert read_dataset(folder).problems == ("face-1.jpg is ignored: face-1.png has the same name",)


@pytest.mark.parametrize("given", ["faces/face-1.png", r"C:\faces\1", "/data/face-1"])
def test_a_path_in_place_of_an_id_is_named(folder: Path, given: str) -> None:
    (folder / "train.csv").write_text(f"id,glasses\n{given},0\n2,1\n")
    assert read_dataset(folder).problems[0] == f"train.csv line 2: {given} names a folder: name the file alone"


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "corrections.csv", "about.json"])
def test_a_folder_in_place_of_a_table_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(DataError, match=f"{name} is not a file"):
        read_dataset(folder)


@pytest.mark.parametrize("ending", [".BMP", ".heif", ".jxl"])
def test_images_of_other_formats_are_named(folder: Path, ending: str) -> None:
    images = folder / "faces-spring-2020/faces-spring-2020"
    (images / "face-1.png").rename(images / f"face-1{ending}")
    assert read_dataset(folder).problems == (
        f"face-1{ending} is ignored: images are PNG, JPEG or WebP files",
        "train.csv line 2: face-1 has no image",
    )


def test_no_line_is_lost_of_a_large_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,v\n" + "".join(f"{number},'{number}\n" for number in range(20_000)))
    table = read_table(tmp_path / "x.csv", {"id"})
    assert [line.number for line in table.lines] == list(range(2, 20_002))
