import errno
import fcntl
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk import job
from bulk.output.folder import Folder
from common.storage import LOCK, TEMPORARY
from tests.bulk.helpers import (
    DARK,
    GREY,
    LIGHT,
    Bulk,
    face,
    parquet_bytes,
    read_rows,
    shards,
    tar_bytes,
    tar_members,
    write_faces,
)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces", [LIGHT, GREY, DARK])


def test_finished_units_are_skipped_without_being_read(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out")
    before = shards(tmp_path / "out")
    path = faces / "face-00250.png"
    state = path.stat()
    path.write_bytes(b"?" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    ran = bulk(faces, tmp_path / "out")
    assert (ran.summary["skipped"], ran.summary["judged"], ran.summary["accepted"]) == (3, 0, 2)
    assert shards(tmp_path / "out") == before


@pytest.mark.parametrize(("src", "dst"), [(".", "table"), ("**", "table"), (".", "../link")])
def test_a_run_whose_output_lies_inside_its_source_can_be_repeated(
    bulk: Bulk, faces: Path, monkeypatch: pytest.MonkeyPatch, src: str, dst: str
) -> None:
    monkeypatch.chdir(faces)
    (faces / "table").mkdir()
    Path("../link").symlink_to(faces / "table")
    for judged in (3, 0):
        ran = bulk(src, dst, "--keep", "kept")
        assert (ran.status, ran.summary["images"], ran.summary["judged"]) == (0, 3, judged)


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_output_behind_a_link_in_the_source_is_not_judged(kind: str, bulk: Bulk, tmp_path: Path) -> None:
    source, out, keep = tmp_path / "source", tmp_path / "out", tmp_path / "keep"
    source.mkdir()
    name, data = (
        ("x.tar", tar_bytes({"a.png": face(LIGHT)}))
        if kind == "webdataset"
        else (
            "x.parquet",
            parquet_bytes({"image": [face(LIGHT)]}),
        )
    )
    (source / name).write_bytes(data)
    for folder in (out, keep):
        (source / folder.name).symlink_to(folder)
    for judged in (1, 0):
        ran = bulk(source, out, "--keep", keep, "--format", kind)
        assert (ran.status, ran.summary["images"], ran.summary["judged"]) == (0, 1, judged)
    assert ran.summary["ignored"]["files of this run's output"] == 1


def test_a_tar_may_lie_in_the_folder_of_accepted_ones(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.png": face(LIGHT)}))
    for judged in (1, 0):
        ran = bulk(tmp_path / "x.tar", tmp_path / "out", "--keep", tmp_path)
        assert (ran.status, ran.summary["images"], ran.summary["judged"]) == (0, 1, judged)


def test_a_run_may_write_beside_its_images(bulk: Bulk, faces: Path) -> None:
    for judged in (3, 0):
        ran = bulk(faces, faces)
        assert (ran.status, ran.summary["images"], ran.summary["judged"]) == (0, 3, judged)


def test_images_in_a_folder_of_output_are_judged(bulk: Bulk, faces: Path) -> None:
    (faces / "table").mkdir()
    for image in list(faces.glob("*.png"))[:2]:
        image.rename(faces / "table" / image.name)
    for judged in (3, 0):
        ran = bulk(faces, faces / "table")
        assert (ran.status, ran.summary["images"], ran.summary["judged"]) == (0, 3, judged)


def test_files_with_other_times_are_hashed_and_not_scored_again(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out")
    before = read_rows(tmp_path / "out")
    for path in faces.iterdir():
        os.utime(path, ns=(0, 0))
    ran = bulk(faces, tmp_path / "out")
    assert (ran.summary["judged"], ran.summary["reused"]) == (3, 3)
    assert read_rows(tmp_path / "out") == before


def test_scores_of_other_pixels_are_not_reused(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that reads a file otherwise judges it again; before, its old score or error stayed."""
    bulk(faces, tmp_path / "out")
    monkeypatch.setattr(job, "DECODING", "next")
    ran = bulk(faces, tmp_path / "out")
    assert (ran.summary["skipped"], ran.summary["judged"], ran.summary["reused"]) == (0, 3, 0)


def test_the_same_bytes_elsewhere_are_found_by_their_hash(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out")
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.png": face(LIGHT), "b.png": face(1), "c.png": b"broken"}))
    ran = bulk(tmp_path / "x.tar", tmp_path / "out")
    assert (ran.summary["judged"], ran.summary["reused"]) == (3, 1)
    assert len(read_rows(tmp_path / "out")) == 6


def test_another_band_decides_again_from_cached_scores(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    band = ["--band-low", "0.01", "--band-high", "0.1"]
    bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
    ran = bulk(faces, tmp_path / "out", *band, "--keep", tmp_path / "keep")
    assert (ran.summary["judged"], ran.summary["reused"]) == (3, 3)
    assert [row["decision"] for row in read_rows(tmp_path / "out")] == ["discard", "accept", "accept"]
    bulk(faces, tmp_path / "fresh", *band, "--keep", tmp_path / "fresh-keep")
    assert shards(tmp_path / "out") == shards(tmp_path / "fresh")
    # The tars of the other band are gone.
    assert shards(tmp_path / "keep") == shards(tmp_path / "fresh-keep")


@pytest.mark.parametrize("flags", [["--expected", "glasses"], ["--version", "1"]], ids=str)
def test_another_rule_or_model_decides_again(flags: list[str], bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out")
    ran = bulk(faces, tmp_path / "out", *flags)
    assert (ran.summary["judged"], ran.summary["reused"]) == (3, 0 if "--version" in flags else 3)
    bulk(faces, tmp_path / "fresh", *flags)
    assert shards(tmp_path / "out") == shards(tmp_path / "fresh")


def test_transient_errors_are_retried_and_permanent_ones_are_not(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    (faces / "broken.png").write_bytes(b"broken")
    bulk(faces, tmp_path / "out")
    assert bulk(faces, tmp_path / "out").summary["judged"] == 0
    (faces / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert bulk(faces, tmp_path / "out").summary["judged"] == 5
    ran = bulk(faces, tmp_path / "out")
    assert (ran.summary["judged"], ran.summary["reused"], ran.summary["errors"]) == (5, 3, 2)
    (tmp_path / "nowhere.png").write_bytes(face(1))
    assert bulk(faces, tmp_path / "out").summary["errors"] == 1


def test_accepted_images_are_written_when_asked_for_later_or_lost(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    bulk(faces, tmp_path / "out")
    table = shards(tmp_path / "out")
    assert bulk(faces, tmp_path / "out", "--keep", keep).summary["reused"] == 3
    kept = shards(keep)
    assert [tar_members(data) for data in kept.values()] == [
        {"face-00005.png": face(DARK), "face-00250.png": face(LIGHT)}
    ]
    assert bulk(faces, tmp_path / "out", "--keep", keep).summary["judged"] == 0
    shutil.rmtree(keep)
    bulk(faces, tmp_path / "out", "--keep", keep)
    assert shards(keep) == kept
    assert shards(tmp_path / "out") == table


def test_without_accepted_images_no_tar_is_written_or_expected(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [GREY])
    bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
    assert shards(tmp_path / "keep") == {}
    assert bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep").summary["judged"] == 0


def test_only_files_gone_from_src_are_removed_from_the_table(bulk: Bulk, tmp_path: Path) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    for number in range(3):
        (tmp_path / f"x-{number}.tar").write_bytes(tar_bytes({"a.png": face(LIGHT)}))
    faces = write_faces(tmp_path / "faces", [DARK])
    bulk(tmp_path / "*.tar", out, "--keep", keep)
    bulk(faces, out, "--keep", keep)
    (keep / "notes.tar").write_bytes(b"a user's file")
    (tmp_path / "x-1.tar").unlink()
    ran = bulk(tmp_path / "*.tar", out, "--keep", keep)
    assert (ran.summary["images"], ran.summary["removed_shards"]) == (2, 1)
    assert sorted(row["source"] for row in read_rows(out)) == [
        str(faces),
        f"{tmp_path}/x-0.tar",
        f"{tmp_path}/x-2.tar",
    ]
    assert len(shards(keep)) == 4


def test_a_tar_whose_shard_cannot_be_written_is_removed(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("bulk.output.table.TableWriter.__exit__", fail)
        assert bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep").status == 1
    assert shards(tmp_path / "keep") == {}
    assert bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep").status == 0
    kept = shards(tmp_path / "keep")
    assert len(kept) == 1
    # The tar of another table is not of this run.
    with monkeypatch.context() as patched:
        patched.setattr("bulk.output.table.TableWriter.__exit__", fail)
        assert bulk(faces, tmp_path / "other", "--keep", tmp_path / "keep", "--band-low", "0.4").status == 1
    assert shards(tmp_path / "keep") == kept


def test_a_tar_whose_run_was_killed_before_its_shard_appeared_is_removed(
    bulk: Bulk, faces: Path, tmp_path: Path
) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    bulk(faces, out, "--keep", keep)
    (shard,) = shards(out)
    # As the killed run leaves them: the tar is there, and the shard is not finished.
    (out / shard).rename(out / f"{TEMPORARY}{shard}-x")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.png").write_bytes(face(LIGHT))
    assert len(shards(keep)) == 1
    ran = bulk(tmp_path / "others", out, "--keep", keep)
    assert (ran.status, ran.summary["stray_tars"]) == (0, 0)
    assert [name.partition("-")[0] for name in shards(keep)] == ["others"]


def test_tars_without_a_shard_are_reported_and_stay(bulk: Bulk, tmp_path: Path) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    for number in range(2):
        (tmp_path / f"x-{number}.tar").write_bytes(tar_bytes({"a.png": face(LIGHT)}))
    run = (tmp_path / "*.tar", out)
    bulk(*run, "--keep", keep)
    (tmp_path / "x-0.tar").unlink()
    assert bulk(*run).summary["removed_shards"] == 1
    for _ in range(2):
        ran = bulk(*run, "--keep", keep)
        assert (ran.status, ran.summary["stray_tars"], len(shards(keep))) == (0, 1, 2)
        assert "tars in KEEP without a shard in DST: 1, such as x-0-" in ran.err


def test_a_run_killed_while_it_removes_a_shard_removes_its_tar_later(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    for number in range(2):
        (tmp_path / f"x-{number}.tar").write_bytes(tar_bytes({"a.png": face(LIGHT)}))
    run = (tmp_path / "*.tar", out, "--keep", keep)
    bulk(*run)
    (tmp_path / "x-0.tar").unlink()
    remove = Folder.remove

    def remove_once(folder: Folder, name: str) -> None:
        remove(folder, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", remove_once)
        assert bulk(*run).status == 130
    assert bulk(*run).summary["stray_tars"] == 0
    assert len(shards(keep)) == len(shards(out)) == 1


def test_an_empty_src_removes_no_shards(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out", "--format", "images")
    before = shards(tmp_path / "out")
    for path in faces.iterdir():
        path.unlink()
    ran = bulk(faces, tmp_path / "out", "--format", "images")
    assert ran.status == 1
    assert "holds no images" in ran.err
    assert shards(tmp_path / "out") == before


def test_one_run_at_a_time_writes_to_a_folder(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    for name in ("out", "keep"):
        (tmp_path / name).mkdir(exist_ok=True)
        with (tmp_path / name / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            ran = bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
        assert ran.status == 1
        assert f"another run is writing to {tmp_path / name}" in ran.err
    assert bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep").status == 0


def test_a_lock_that_a_windows_share_refuses_is_held_by_another_run(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = bulk(faces, tmp_path / "out")
    assert (ran.status, ran.err) == (
        1,
        f"lensgate: another run is writing to {tmp_path / 'out'}: wait until it has ended\n",
    )


def test_unfinished_files_of_a_killed_run_are_removed(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    for name in ("out", "keep"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{TEMPORARY}x").write_bytes(b"half")
    bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
    assert not list(tmp_path.glob(f"*/{TEMPORARY}*"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (parquet_bytes({"a": [1]}), "is not a shard of this version"),
        (b"no table", "cannot be read, remove it and run again"),
    ],
    ids=["another table", "damaged"],
)
def test_a_folder_with_other_tables_is_refused(data: bytes, text: str, bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.parquet").write_bytes(data)
    ran = bulk(faces, tmp_path / "out")
    assert ran.status == 1
    assert text in ran.err
    assert "is a file: name a folder" in bulk(faces, tmp_path / "out" / "x.parquet").err


def test_a_shard_under_another_s_name_is_refused(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(faces, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.parquet")
    shutil.copy(path, tmp_path / "out" / "copy.parquet")
    assert "copy.parquet is not a shard of this version" in bulk(faces, tmp_path / "out").err


def test_a_table_has_one_schema_whatever_is_in_it(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    bulk(write_faces(tmp_path / "broken", []) / "*.png", tmp_path / "out")
    (tmp_path / "broken" / "x.png").write_bytes(b"x")
    bulk(tmp_path / "broken", tmp_path / "out")
    bulk(faces, tmp_path / "out", "--expected", "glasses")
    schemas = {pq.read_schema(path).remove_metadata() for path in (tmp_path / "out").glob("*.parquet")}
    assert len(schemas) == 1
    assert pa.types.is_float64(schemas.pop().field("glasses_probability").type)
