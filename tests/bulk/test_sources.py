"""The source of an image: from a flag, a Parquet column or a sample's `.json`, in the table and in the summary."""

import json
from pathlib import Path

import pytest

from bulk.output.tally import SourceCells
from common.source_report import Cell
from gate import Reason

from .helpers import Bulk, face, parquet_bytes, read_rows, tar_bytes, write_faces

BRIGHT, DARK = face(250), face(5)


def test_without_a_source_it_is_the_place_of_the_image(bulk: Bulk, tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", [1, 2])
    bulk(folder, tmp_path / "out")
    assert {(row["source"], row["file"]) for row in read_rows(tmp_path / "out")} == {(str(folder), str(folder))}


def test_a_flag_names_the_source_of_all_images(bulk: Bulk, tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", [1, 2])
    summary = bulk(folder, tmp_path / "out", "--source", "run-7").summary
    assert {(row["source"], row["file"]) for row in read_rows(tmp_path / "out")} == {("run-7", str(folder))}
    assert [one["source"] for one in summary["comparison"]["sources"]] == ["run-7"]
    # Another source is another decision, without decoding again.
    again = bulk(folder, tmp_path / "out", "--source", "run-8").summary
    assert (again["reused"], again["comparison"]["sources"][0]["source"]) == (2, "run-8")


def test_a_column_names_the_source_of_each_row(bulk: Bulk, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet_bytes({"image": [BRIGHT, DARK, BRIGHT, DARK], "run": ["a", None, "b\n", "a"]}))
    bulk(path, tmp_path / "out", "--source-column", "run")
    rows = read_rows(tmp_path / "out")
    assert [row["source"] for row in rows] == ["a", str(path), str(path), "a"]
    assert [row["error"] for row in rows] == [None, None, "invalid_source", None]


def test_a_json_names_the_source_of_a_sample(bulk: Bulk, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    samples = {
        "a": {"run": "r1"},
        "b": {"run": 7},
        "c": {},
        "d": {"run": ""},
        "g": {"run": "\ud800"},
        "h": {"run": ["r1"]},
    }
    members = [
        member
        for key, fields in samples.items()
        for member in ((f"{key}.png", BRIGHT), (f"{key}.json", json.dumps(fields).encode()))
    ]
    path.write_bytes(tar_bytes([*members, ("e.png", BRIGHT), ("f.png", BRIGHT), ("f.json", b"{")]))
    ran = bulk(path, tmp_path / "out", "--source-column", "run")
    assert "2 images name no source: 'run' is missing or null" in ran.err
    rows = {row["id"]: (row["source"], row["error"]) for row in read_rows(tmp_path / "out")}
    place = str(path)
    assert rows == {
        "a": ("r1", None),
        "b": ("7", None),
        "c": (place, None),
        "d": (place, "invalid_source"),
        "e": (place, None),
        "f": (place, "invalid_source"),
        "g": (place, "invalid_source"),
        "h": (place, "invalid_source"),
    }


def test_a_broken_source_is_named_in_the_summary_also_after_a_run_that_skipped_it(bulk: Bulk, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    images = [BRIGHT] * 40 + [DARK] * 30
    path.write_bytes(parquet_bytes({"image": images, "run": ["good"] * 40 + ["bad"] * 30}))
    for _ in range(2):
        flags = ("--source-column", "run", "--expected", "glasses")
        found = bulk(path, tmp_path / "out", *flags).summary["comparison"]["sources"]
        assert [(one["source"], one["is_broken"]) for one in found] == [("bad", True), ("good", False)]
        assert found[0]["expected"][0]["bins"][0]["contradicted"]["images"] == 30


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--source", ""], "--source: the value is empty"),
        (["--source", " "], "--source must be 1 to 128 characters"),
        (["--source", "a\nb"], "--source must be 1 to 128 characters"),
        (["--source", "a", "--source-column", "b"], "--source and --source-column exclude each other"),
        (["--source-column", "b"], "--source-column needs a Parquet or WebDataset source; use --source"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(flags: list[str], text: str, bulk: Bulk, tmp_path: Path) -> None:
    ran = bulk(write_faces(tmp_path / "faces", [1]), tmp_path / "out", *flags)
    assert ran.status == 2
    assert text in ran.err


def test_a_column_with_a_name_for_each_image_has_bounded_counts() -> None:
    cells = SourceCells()
    for number in range(1_500):
        cells.add(Cell(str(number), None, 9, Reason.CONFIDENT))
    assert len(cells.counts) == 1_001
    assert cells.counts[Cell(None, None, 9, Reason.CONFIDENT)] == 500
