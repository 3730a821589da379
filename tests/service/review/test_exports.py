import csv
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import insert

from service.records.store import Store
from service.records.tables import Verdict, verdicts
from service.review.exports import Ids, write_corrections, write_dataset
from service.review.queue import ReviewQueue
from service.review.reviewer import Reviewer
from tests.service.review.decisions import NOW, audited, decision, fill
from tests.support.datasets import half
from tests.support.datasets import write_dataset as write_kaggle
from tests.support.images import encode, flat
from tests.support.unpacking import unpack as extract
from training.data.dataset import read_corrections, read_dataset


def judge(store: Store, said: str, *, at: float = NOW, by: str = "Anna", **changes: Any) -> str:
    kind = audited if changes.pop("audit", False) else decision
    row = kind(**changes)
    # Bytes of its own, unless a test means others.
    (record,) = fill(store, [{**row, "sha256": changes.get("sha256", f"{row['record']:0>64}")}])
    ReviewQueue(store, clock=lambda: at).judge(Reviewer(by), record, Verdict(said))
    return record


def unpack(store: Store, folder: Path, **page: int) -> Path:
    with tarfile.open(fileobj=io.BytesIO(b"".join(write_dataset(store, **page)))) as tar:
        extract(tar, folder)
    return folder / "reviewed"


def test_training_reads_the_exported_folder(store: Store, tmp_path: Path) -> None:
    with_glasses = judge(store, "glasses", at=NOW + 1, source='run 7, "b"')
    without = judge(store, "no_glasses", at=NOW + 2, audit=True)
    judge(store, "unclear", at=NOW + 3)
    fill(store, [decision()])
    data = read_dataset(unpack(store, tmp_path))
    assert {(one.name, one.glasses, one.source) for one in data.train} == {
        (f"face-{with_glasses}", True, 'run 7, "b"'),
        (f"face-{without}", False, ""),
    }
    assert data.problems == ()
    assert data.name == "reviewed"
    assert "Lensgate" in data.about.source
    with Image.open(data.train[0].path) as image:
        assert (image.format, image.size) == ("JPEG", (16, 16))


def test_of_verdicts_on_the_same_bytes_the_latest_is_exported(store: Store) -> None:
    same, other = "a" * 64, "b" * 64
    late = judge(store, "no_glasses", at=NOW + 9, sha256=same)
    judge(store, "glasses", at=NOW, sha256=same)
    judge(store, "glasses", at=NOW, sha256=other)
    judge(store, "unclear", at=NOW + 1, sha256=other)
    data = write_dataset(store)
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        table = tar.extractfile("reviewed/train.csv")
        assert table is not None
        assert table.read().decode() == f"id,glasses,source\nface-{late},0,\n"


@pytest.mark.parametrize("at", [-1, 8**11])
def test_a_verdict_by_a_wrong_clock_is_exported(store: Store, tmp_path: Path, at: int) -> None:
    judge(store, "glasses", at=at)
    assert len(read_dataset(unpack(store, tmp_path)).train) == 1


def test_an_image_whose_picture_was_deleted_is_not_listed(store: Store, tmp_path: Path) -> None:
    record = judge(store, "glasses")
    (gone,) = fill(store, [decision(sha256="c" * 64)], jpeg=None)
    ReviewQueue(store).judge(Reviewer("Anna"), gone, Verdict.GLASSES)
    assert [one.name for one in read_dataset(unpack(store, tmp_path)).train] == [f"face-{record}"]


def test_nothing_judged_is_an_empty_folder(store: Store, tmp_path: Path) -> None:
    assert (unpack(store, tmp_path) / "train.csv").read_text() == "id,glasses,source\n"
    assert "".join(write_corrections(store, Ids.RECORD)) == "id,label,reason\n"


def test_many_pages_lose_and_repeat_nothing(store: Store, tmp_path: Path) -> None:
    # Several share one time, so that paging needs more than the time.
    records = [judge(store, "glasses", at=NOW + index // 4, sha256=f"{index:064x}") for index in range(12)]
    names = sorted(f"face-{record}" for record in records)
    assert sorted(one.name for one in read_dataset(unpack(store, tmp_path, page=3)).train) == names
    lines = csv.DictReader(io.StringIO("".join(write_corrections(store, Ids.RECORD, page=3))))
    assert sorted(line["id"] for line in lines) == names


def test_a_page_of_corrections_is_sent_in_parts(store: Store) -> None:
    records = fill(store, [decision(sha256=f"{index:064x}") for index in range(2_100)], jpeg=None)
    with store.begin() as connection:
        rows = [{"record": record, "verdict": "glasses", "reviewer": "Anna", "time": 1} for record in records]
        connection.execute(insert(verdicts), rows)
    parts = list(write_corrections(store, Ids.RECORD))
    assert [part.count("\n") for part in parts] == [1_001, 1_000, 100]
    assert {line["id"] for line in csv.DictReader(io.StringIO("".join(parts)))} == {f"face-{one}" for one in records}


def test_the_tar_is_made_while_it_is_sent(store: Store) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    jpeg = encode(noise, "JPEG", quality=95)
    records = fill(store, [decision(sha256=f"{index:064x}") for index in range(300)], jpeg=jpeg)
    for record in records:
        ReviewQueue(store).judge(Reviewer("Anna"), record, Verdict.GLASSES)
    sizes = [len(part) for part in write_dataset(store)]
    assert sum(sizes) > 300 * len(jpeg)
    assert max(sizes) <= 64 * (len(jpeg) + 1024)


def test_corrections_name_images_as_the_exported_folder_does(store: Store, tmp_path: Path) -> None:
    first, second = judge(store, "glasses", at=NOW + 1), judge(store, "no_glasses", at=NOW + 2)
    folder = unpack(store, tmp_path)
    ReviewQueue(store).judge(Reviewer("Anna"), first, Verdict.NO_GLASSES)
    ReviewQueue(store).judge(Reviewer("Anna"), second, Verdict.UNCLEAR)
    (folder / "corrections.csv").write_text("".join(write_corrections(store, Ids.RECORD)))
    data = read_dataset(folder)
    assert [(one.name, one.given, one.glasses) for one in data.train] == [(f"face-{first}", True, False)]
    assert "is left out as unclear" in data.problems[0]


@pytest.mark.parametrize("called", ["{}", "face-{}", "face-{}.png", "faces-spring-2020/face-{}.JPG"])
def test_corrections_name_images_as_a_callers_data_set_does(store: Store, tmp_path: Path, called: str) -> None:
    folder = write_kaggle(tmp_path / "set", half(4))
    judge(store, "no_glasses", at=NOW + 5, id=called.format(2))
    judge(store, "glasses", at=NOW, id=called.format(2))
    judge(store, "unclear", id=called.format(3))
    (folder / "corrections.csv").write_text("".join(write_corrections(store, Ids.CALLER)))
    assert {one.name: one.glasses for one in read_dataset(folder).train} == {
        "face-1": False,
        "face-2": False,
        "face-4": True,
    }


def test_a_file_name_in_two_folders_corrects_no_image_of_the_other(store: Store, tmp_path: Path) -> None:
    folder = write_kaggle(tmp_path / "set", half(4))
    for place, name in (("a", "face-2.png"), ("b", "2.png")):
        judge(store, "no_glasses", id=f"{place}/{name}")
        judge(store, "glasses", id=f"{place}/3.png", sha256="c" * 64)  # Copies of one image.
    (folder / "corrections.csv").write_text("".join(write_corrections(store, Ids.CALLER, page=3)))
    data = read_dataset(folder)
    assert {one.name: one.glasses for one in data.train} == {
        "face-1": False,
        "face-2": True,
        "face-3": True,
        "face-4": True,
    }
    assert [fault.split()[1] for fault in data.problems] == ["face-a/face-2", "face-b/2"]


HOSTILE = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a,b", 'a"b', "\u202e=1", "..", "/", "face-", "12.0", " 7 "]


@pytest.mark.parametrize("identity", HOSTILE)
def test_no_cell_is_a_formula_and_training_still_finds_the_name(store: Store, tmp_path: Path, identity: str) -> None:
    judge(store, "glasses", id=identity, by="=Anna")
    text = "".join(write_corrections(store, Ids.CALLER))
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    table = tmp_path / "corrections.csv"
    table.write_text(text, encoding="utf-8")
    ((name, correction),) = read_corrections(table).items()
    assert name.startswith("face-")
    assert correction.glasses
    assert "judged by =Anna on 2027-01-15" in correction.reason


@pytest.mark.parametrize("source", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a,b", 'a"b', "gan-3"])
def test_no_source_of_the_exported_folder_is_a_formula(store: Store, tmp_path: Path, source: str) -> None:
    judge(store, "glasses", source=source)
    folder = unpack(store, tmp_path)
    with (folder / "train.csv").open(newline="") as table:
        (line,) = csv.DictReader(table)
    assert line["source"] == (f"'{source}" if source[0] in "=+-@" else source)
    assert read_dataset(folder).train[0].source == line["source"]


def test_an_image_of_one_colour_is_exported_as_it_is_kept(store: Store, tmp_path: Path) -> None:
    jpeg = encode(flat(200, 64), "JPEG")
    (record,) = fill(store, [decision()], jpeg=jpeg)
    ReviewQueue(store).judge(Reviewer("Anna"), record, Verdict.GLASSES)
    assert (unpack(store, tmp_path) / f"faces/face-{record}.jpg").read_bytes() == jpeg
