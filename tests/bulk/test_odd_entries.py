"""Entries of SRC that cannot be read become a row with an error or a counted note, and the run continues."""

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from bulk.sources.ignored import Ignored, describe_ignored
from bulk.sources.patterns import Glob
from bulk.sources.sample import MAX_BYTES
from bulk.sources.walk import Walk
from common.storage import Listing, LocalFiles, StoredFile, any_path
from tests.bulk.helpers import DARK, LIGHT, Bucket, Bulk, face, parquet_bytes, read_rows, tar_bytes, write_faces


def errors(folder: Path) -> dict[str, str | None]:
    return {row["id"]: row["error"] for row in read_rows(folder)}


def test_every_ending_of_the_three_formats_is_judged_and_others_are_counted(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [])
    for name in ("a.JPG", "b.jfif", "c.jpe", "d.JPEG"):
        (faces / name).write_bytes(face(LIGHT, kind="JPEG"))
    for name in ("e.tiff", "f.TIFF", "g.tar.lz4", "README", "h.0001", ".hidden.png"):
        (faces / name).write_bytes(b"x")
    (faces / ".cache").mkdir()
    ran = bulk(faces, tmp_path / "out")
    assert errors(tmp_path / "out") == dict.fromkeys(["a.JPG", "b.jfif", "c.jpe", "d.JPEG"])
    assert ran.status == 0
    assert ran.summary["ignored"] == {
        ".0001": 1,
        ".tar.lz4": 1,
        ".tiff": 2,
        "hidden files": 1,
        "hidden folders": 1,
        "no ending": 1,
    }
    assert "7 files ignored: .tiff 2, .0001 1, .tar.lz4 1" in ran.err


@pytest.mark.parametrize(
    ("name", "data", "pattern", "ignored"),
    [
        ("a.png", face(LIGHT), "*", {".bz2x": 1, "folders": 1}),
        ("a.tar", tar_bytes({"a.png": face(LIGHT)}), "", {".bz2x": 1}),
        ("a.parquet", parquet_bytes({"image": [face(LIGHT)]}), "", {".bz2x": 1, "names that begin with _": 1}),
    ],
)
def test_ignored_files_are_counted_in_every_kind_of_source(
    name: str, data: bytes, pattern: str, ignored: dict[str, int], *, bulk: Bulk, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / name).write_bytes(data)
    (source / "b.bz2x").write_bytes(b"")
    if name.endswith(".parquet"):
        (source / "_metadata.parquet").write_bytes(b"")
    ran = bulk(source / pattern if pattern else source, tmp_path / "out")
    assert (ran.status, ran.summary["images"], ran.summary["ignored"]) == (0, 1, ignored)


@pytest.mark.parametrize("pattern", ["", "**/*.parquet"])
def test_folders_that_readers_of_data_sets_skip_are_counted(pattern: str, bulk: Bulk, tmp_path: Path) -> None:
    """Spark leaves the rows of failed attempts in `_temporary`; Delta Lake keeps its log in `_delta_log`."""
    source = tmp_path / "_runs"
    names = ["a", "_temporary/0/task/a", "day=1/_delta_log/1.checkpoint", "_day=1/b", "day=1/_hidden"]
    for number, name in enumerate(names):
        path = source / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parquet_bytes({"image": [face(LIGHT + number)]}))
    ran = bulk(source / pattern, tmp_path / "out")
    assert (ran.status, ran.summary["images"]) == (0, 2)
    assert ran.summary["ignored"] == {"names that begin with _": 3}


@pytest.mark.parametrize("names", ["_a/_1.parquet", "{_a,_b}/_{1..2}.parquet"])
def test_files_that_src_names_are_read_whatever_their_names(names: str, bulk: Bulk, tmp_path: Path) -> None:
    for number, name in enumerate(("_a/_1", "_a/_2", "_b/_1", "_b/_2")):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(parquet_bytes({"image": [face(LIGHT + number)]}))
    assert bulk(tmp_path / names, tmp_path / "out").summary["images"] == (4 if "{" in names else 1)


def test_ignored_files_in_a_store_are_counted(bulk: Bulk, tmp_path: Path) -> None:
    bucket = Bucket("memory://ignored", fsspec.filesystem("memory"))
    bucket.put("faces/a.png", face(LIGHT))
    bucket.put("faces/b.gif", b"x")
    bucket.put("faces/c.parquet", b"x")
    ran = bulk(f"{bucket.url}/faces", tmp_path / "out", "--format", "images")
    bucket.store.rm(bucket.url, recursive=True)
    assert ran.summary["ignored"] == {".gif": 1, ".parquet": 1}
    assert "2 files ignored: .gif 1, .parquet 1" in ran.err


def test_the_error_counts_the_files_if_all_are_ignored(bulk: Bulk, tmp_path: Path) -> None:
    (write_faces(tmp_path / "faces", []) / "a.tiff").write_bytes(b"x")
    for flags in ([], ["--format", "images"]):
        ran = bulk(tmp_path / "faces", tmp_path / "out", *flags)
        assert ran.status == 1
        assert "(1 file ignored: .tiff 1)" in ran.err


def test_many_distinct_endings_are_counted_together() -> None:
    ignored = Ignored()
    for number in range(1_000):
        ignored.add_file(f"x.{number}")
    assert sum(ignored.counts.values()) == 1_000
    assert len(ignored.counts) <= 101
    assert describe_ignored(ignored.counts).startswith("1,000 files ignored: others 900, .0 1, ")


def test_a_single_file_is_read_whatever_its_ending_if_its_format_is_given(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "photo.bin").write_bytes(face(LIGHT))
    ran = bulk(tmp_path / "photo.bin", tmp_path / "out")
    assert (ran.status, "photo.bin has none of the suffixes .png" in ran.err) == (1, True)
    assert bulk(tmp_path / "photo.bin", tmp_path / "out", "--format", "images").summary["accepted"] == 1


def test_odd_entries_are_rows_and_never_end_a_run(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    os.mkfifo(faces / "fifo.png")
    os.mkfifo(faces / "fifo")
    (faces / "to-fifo.png").symlink_to(faces / "fifo")
    (faces / "zero.png").symlink_to("/dev/zero")
    (faces / "loop.png").symlink_to(faces / "loop.png")
    (faces / "gone.png").symlink_to(faces / "nowhere")
    (faces / "empty.png").write_bytes(b"")
    (faces / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (write_faces(faces / "folder.png", []) / "in.png").write_bytes(face(DARK))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(faces / "socket.png"))
        ran = bulk(faces, tmp_path / "out")
    assert ran.status == 0
    assert errors(tmp_path / "out") == {
        "face-00250.png": None,
        "folder.png/in.png": None,
        "empty.png": "empty_image",
        "\\xff.png": "unsupported_image",
        "gone.png": "unreadable_file",
        "loop.png": "unreadable_file",
        "fifo.png": "not_a_file",
        "to-fifo.png": "not_a_file",
        "zero.png": "not_a_file",
        "socket.png": "not_a_file",
    }
    details = {row["id"]: row["detail"] for row in read_rows(tmp_path / "out")}
    assert details["fifo.png"] == "a FIFO: only regular files are read"
    assert details["zero.png"] == "a device: only regular files are read"
    assert ran.summary["ignored"] == {"no ending": 1}


def test_a_byte_and_its_escape_are_two_names_of_fifos(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for name in (b"\xff.png", rb"\xff.png"):
        os.mkfifo(os.fsencode(tmp_path / "faces") + b"/" + name)
    assert bulk(tmp_path / "faces", tmp_path / "out").summary["errors"] == 2
    assert len({row["id"] for row in read_rows(tmp_path / "out")}) == 2


def test_a_fifo_as_source_is_named(bulk: Bulk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ran = bulk(tmp_path / "pipe", tmp_path / "out")
    assert (ran.status, "pipe is a FIFO: only regular files are read; write its bytes" in ran.err) == (1, True)
    assert bulk(tmp_path / "pipe", tmp_path / "out", "--format", "webdataset").status == 4
    assert errors(tmp_path / "out") == {"pipe": "not_a_file"}


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_a_fifo_with_the_name_of_a_shard_is_a_row(name: str, bulk: Bulk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    ran = bulk(tmp_path / name, tmp_path / "out")
    assert (ran.status, errors(tmp_path / "out")) == (4, {name: "not_a_file"})
    assert "no image could be judged" in ran.err


def test_a_fifo_that_replaces_a_file_does_not_block(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT, DARK])
    opened = LocalFiles.open

    def open_late(store: LocalFiles, path: str, *, ahead: bool = False) -> Any:
        if path.endswith("00005.png"):
            Path(path).unlink()
            os.mkfifo(path)
        return opened(store, path, ahead=ahead)

    monkeypatch.setattr(LocalFiles, "open", open_late)
    bulk(faces, tmp_path / "out")
    assert errors(tmp_path / "out") == {"face-00005.png": "unreadable_file", "face-00250.png": None}


def test_a_file_that_grows_is_read_up_to_the_bound(bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    opened = LocalFiles.open

    def open_late(store: LocalFiles, path: str, *, ahead: bool = False) -> Any:
        if path.endswith(".png"):
            os.truncate(path, MAX_BYTES + 10)
        return opened(store, path, ahead=ahead)

    monkeypatch.setattr(LocalFiles, "open", open_late)
    bulk(faces, tmp_path / "out")
    assert errors(tmp_path / "out") == {"face-00250.png": "file_too_large"}


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Folders that cannot be listed: root, as which tests may run, may list any."""
    names: set[str] = set()
    scandir = os.scandir

    def scan(path: Any) -> Any:
        if Path(path).name in names:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    return names


@pytest.mark.parametrize("source", ["faces", "faces/**/*.png", "faces/*/*.png"])
def test_an_unlistable_folder_is_a_row(source: str, bulk: Bulk, tmp_path: Path, forbidden: set[str]) -> None:
    write_faces(tmp_path / "faces" / "a", [LIGHT])
    write_faces(tmp_path / "faces" / "lost+found", [])
    forbidden.add("lost+found")
    ran = bulk(tmp_path / source, tmp_path / "out")
    assert ran.status == 0
    assert errors(tmp_path / "out") == {"a/face-00250.png": None, "lost+found/": "unreadable_folder"}
    (row,) = (row for row in read_rows(tmp_path / "out") if row["error"])
    assert row["detail"] == "the folder cannot be listed: Permission denied"


def test_a_link_to_a_folder_without_permission_is_a_row_and_its_shards_stay(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "source", tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "x.tar").write_bytes(tar_bytes({f"{folder.name}.png": face(LIGHT)}))
    (tmp_path / "source" / "link").symlink_to(tmp_path / "elsewhere")
    assert bulk(tmp_path / "source", tmp_path / "out").summary["images"] == 2
    scandir = os.scandir

    class Entry:
        name = "link"

        def is_dir(self) -> bool:
            raise PermissionError(errno.EACCES, "Permission denied")

    def scan(path: Any) -> Any:
        if Path(path).name == "link":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        with scandir(path) as entries:
            return contextlib.nullcontext([Entry() if entry.name == "link" else entry for entry in entries])

    monkeypatch.setattr(os, "scandir", scan)
    ran = bulk(tmp_path / "source", tmp_path / "out")
    assert (ran.status, ran.summary["removed_shards"], ran.summary["held_back_shards"]) == (0, 0, 1)
    assert errors(tmp_path / "out") == {"source": None, "elsewhere": None, "link/": "unreadable_folder"}


@pytest.mark.parametrize(("name", "data"), [("x.tar", tar_bytes({"a.png": face(LIGHT)})), ("x.parquet", b"")])
def test_an_unlistable_folder_beside_shards_is_a_row(
    name: str, data: bytes, bulk: Bulk, tmp_path: Path, forbidden: set[str]
) -> None:
    write_faces(tmp_path / "source" / "lost+found", [])
    (tmp_path / "source" / name).write_bytes(data or parquet_bytes({"image": [face(LIGHT)]}))
    forbidden.add("lost+found")
    assert bulk(tmp_path / "source", tmp_path / "out").summary["accepted"] == 1
    assert errors(tmp_path / "out")["lost+found/"] == "unreadable_folder"


def test_rows_of_a_temporarily_unlistable_folder_stay_in_the_table(
    bulk: Bulk, tmp_path: Path, forbidden: set[str]
) -> None:
    for number in range(2):
        write_faces(tmp_path / "source" / f"{number}", [])
        (tmp_path / "source" / f"{number}" / "x.tar").write_bytes(tar_bytes({"a.png": face(LIGHT + number)}))
    bulk(tmp_path / "source", tmp_path / "out")
    forbidden.add("1")
    (tmp_path / "source" / "0" / "x.tar").unlink()
    (tmp_path / "source" / "y.tar").write_bytes(tar_bytes({"b.png": face(LIGHT)}))
    ran = bulk(tmp_path / "source", tmp_path / "out")
    assert (ran.summary["removed_shards"], ran.summary["held_back_shards"]) == (1, 1)
    assert "1 shards could not be checked" in ran.err
    assert errors(tmp_path / "out") == {"a": None, "b": None, "1/": "unreadable_folder"}
    forbidden.clear()
    ran = bulk(tmp_path / "source", tmp_path / "out")
    assert (ran.summary["skipped"], ran.summary["removed_shards"], ran.summary["errors"]) == (2, 1, 0)


def test_an_unlistable_source_is_an_error(bulk: Bulk, tmp_path: Path, forbidden: set[str]) -> None:
    write_faces(tmp_path / "faces", [LIGHT])
    forbidden.add("faces")
    ran = bulk(tmp_path / "faces", tmp_path / "out")
    assert ran.status == 1
    assert "Permission denied" in ran.err


@pytest.mark.parametrize("source", ["faces", "faces/**/*.png"])
def test_folders_that_link_to_each_other_are_walked_once(source: str, bulk: Bulk, tmp_path: Path) -> None:
    # Along every path there are ten million ways through ten of them.
    names = [f"{number}" for number in range(10)]
    for number, name in enumerate(names):
        write_faces(tmp_path / "faces" / name, [number])
    for one, other in itertools.permutations(names, 2):
        (tmp_path / "faces" / one / f"to-{other}").symlink_to(tmp_path / "faces" / other)
    assert bulk(tmp_path / source, tmp_path / "out").summary["images"] == 10
    assert [row["id"] for row in read_rows(tmp_path / "out")] == [f"{name}/face-0000{name}.png" for name in names]


def test_a_link_is_followed_if_the_pattern_reaches_its_target_no_other_way(bulk: Bulk, tmp_path: Path) -> None:
    for run in ("run-1", "run-2"):
        write_faces(tmp_path / "faces" / run / "0005", [LIGHT])
        (tmp_path / "faces" / run / "latest").symlink_to("0005")
    assert bulk(tmp_path / "faces/*/latest/*.png", tmp_path / "a").summary["images"] == 2
    assert bulk(tmp_path / "faces/**/latest/*.png", tmp_path / "b").summary["images"] == 2
    assert bulk(tmp_path / "faces/run-1/latest", tmp_path / "c").summary["images"] == 1
    bulk(tmp_path / "faces", tmp_path / "d")
    assert [row["id"] for row in read_rows(tmp_path / "d")] == [f"run-{n}/0005/face-00250.png" for n in (1, 2)]


def test_of_two_links_to_one_folder_elsewhere_the_first_counts(bulk: Bulk, tmp_path: Path) -> None:
    write_faces(tmp_path / "elsewhere", [LIGHT])
    for name in ("b", "a"):
        (write_faces(tmp_path / "faces", []) / name).symlink_to(tmp_path / "elsewhere")
    bulk(tmp_path / "faces", tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["a/face-00250.png"]


def test_a_file_that_matches_two_patterns_is_judged_once(bulk: Bulk, tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", [LIGHT, DARK])
    bulk(tmp_path / "faces/{face-00005,*,face-00250,f*}.png", tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["face-00005.png", "face-00250.png"]


class _Deep(LocalFiles):
    """Folders in folders, `depth` of them, each with one file."""

    is_local = False

    def __init__(self, depth: int) -> None:
        self._depth = depth

    def list(self, folder: str, is_wanted: Callable[[str], bool] = any_path) -> Listing:
        assert is_wanted(f"{folder}/x.png")
        folders = [f"{folder}/d"] if folder.count("/") < self._depth else []
        return Listing([StoredFile(f"{folder}/x.png", 1, "")], folders)


def test_folders_may_be_thousands_deep() -> None:
    found: Iterator[StoredFile] = iter(Walk(_Deep(3_000), Glob("/r/**", "/r"), Ignored()))
    assert sum(1 for _ in found) == 3_000
