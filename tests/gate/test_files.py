"""Bounded reads, and files that are replaced together."""

import errno
import io
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from gate import files
from gate.files import (
    atomic_file,
    atomic_files,
    read_at_most,
    read_regular,
    refusal,
    remove_unfinished,
    write_atomically,
)

LIMIT = 2**31


def test_a_read_allocates_the_size_of_the_file_and_not_its_limit(tmp_path: Path) -> None:
    """An address space may be limited, by `ulimit -v` or without overcommit."""
    (tmp_path / "file").write_bytes(b"content")
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "file", LIMIT) == b"content"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("expected", [0, 199_999, 200_000, 200_001, LIMIT])
@pytest.mark.parametrize("limit", [0, 1, 199_999, 200_000, 200_001])
def test_a_file_that_grew_or_shrank_is_read_up_to_the_limit(limit: int, expected: int) -> None:
    data = bytes(range(250)) * 800
    assert read_at_most(io.BytesIO(data), limit, expected=expected) == data[:limit]


def write(paths: list[Path], text: str, *, full_at: str = "") -> None:
    with atomic_files(*paths, outdated=[paths[0].with_name("old.txt")]) as temporaries:
        for path, temporary in zip(paths, temporaries, strict=True):
            assert temporary.suffix == path.suffix
            if path.name == full_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            temporary.write_text(text)


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / "network.keras", tmp_path / "run.json"]
    write(paths, "first")
    (tmp_path / "old.txt").touch()
    with pytest.raises(OSError, match="No space left"):
        write(paths, "second", full_at="run.json")
    assert [path.read_text() for path in paths] == ["first", "first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.keras", "old.txt", "run.json"]
    write(paths, "third")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.keras", "run.json"]
    assert [path.read_text() for path in paths] == ["third", "third"]


@pytest.mark.parametrize("stopped_at", [0, 1])
def test_crash_between_two_replacements_leaves_no_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    paths = [tmp_path / "network.keras", tmp_path / "run.json"]
    write(paths, "first")
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if target == paths[stopped_at]:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(paths, "second")
    assert not paths[1].exists()


def test_marker_is_removed_on_disk_before_the_first_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "network.keras", tmp_path / "run.json"]
    write(paths, "first")
    flush, kept = files._flush, []

    def record(path: Path) -> None:
        flush(path)
        if path == tmp_path:
            kept.append([one.read_text() if one.exists() else None for one in paths])

    monkeypatch.setattr(files, "_flush", record)
    write(paths, "second")
    assert kept == [["first", None], ["second", None], ["second", "second"]]


@pytest.mark.parametrize("name", ["network.keras", "run.json", "state"])
def test_temporary_files_of_a_killed_writer_are_removed_and_similar_names_are_kept(tmp_path: Path, name: str) -> None:
    similar = [tmp_path / one for one in (name, f".{name}", f".{name}.swp", f".other-{name}.12345678")]
    for path in similar:
        path.touch()
    killed = [atomic_file(tmp_path / name), atomic_file(tmp_path / name, suffix=Path(name).suffix)]
    for one in killed:
        one.__enter__()
    assert len(list(tmp_path.iterdir())) == len(similar) + 2
    remove_unfinished(tmp_path / name, tmp_path / "absent/folder")
    assert sorted(tmp_path.iterdir()) == sorted(similar)


def test_place_for_files_is_checked_before_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "new/folder") is None
    assert refusal(tmp_path / "file/folder") == f"{tmp_path / 'file'} is not a folder"


def test_file_is_replaced_on_a_file_system_without_permissions_and_flushed_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows shares, FAT and mounted buckets refuse to change permissions; some network drives flush files only."""
    fsync = os.fsync

    def refuse_mode(*_: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def flush_files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fchmod", refuse_mode)
    monkeypatch.setattr(os, "fsync", flush_files_only)
    write_atomically(tmp_path / "one", b"content")
    write([tmp_path / "network.keras", tmp_path / "run.json"], "first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.keras", "one", "run.json"]


def test_disk_that_fails_while_a_folder_is_flushed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "one", b"content")
