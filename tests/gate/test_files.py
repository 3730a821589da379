"""Bounded reads, and files that are replaced together."""

import errno
import io
import os
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from gate.files import (
    atomic_file,
    atomic_files,
    read_at_most,
    read_regular,
    remove_unfinished,
    why_not_writable,
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


def test_no_file_takes_the_place_of_a_device_or_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/lensgate-test")):
        with pytest.raises(OSError, match="Not a regular file: name one to create or replace"), atomic_file(path):
            pass
    assert fifo.is_fifo()


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
    flush, kept = os.fsync, []

    def record(handle: int) -> None:
        flush(handle)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            kept.append([one.read_text() if one.exists() else None for one in paths])

    monkeypatch.setattr(os, "fsync", record)
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
    assert why_not_writable(tmp_path / "new/folder") is None
    assert why_not_writable(tmp_path / "file/folder") == f"{tmp_path / 'file'} is not a folder"


def failing(real: Callable[..., object], number: int, *, folders_only: bool = False) -> Callable[..., object]:
    """Return a system call that fails, at folders alone or everywhere."""

    def fail(target: int | Path, *others: object) -> object:
        if folders_only and not stat.S_ISDIR(os.stat(target).st_mode):  # noqa: PTH116 - Also a descriptor.
            return real(target, *others)
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOTTY])
def test_a_share_that_flushes_no_folders_keeps_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, folders_only=True))
    write([tmp_path / "network.keras", tmp_path / "run.json"], "text")
    assert (tmp_path / "run.json").read_text() == "text"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS])
def test_a_mount_that_fixes_the_permissions_takes_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "chmod", failing(os.chmod, number))
    write([tmp_path / "network.keras", tmp_path / "run.json"], "text")
    assert (tmp_path / "run.json").read_text() == "text"


@pytest.mark.parametrize(("call", "folders_only"), [("fsync", False), ("fsync", True), ("chmod", False)])
def test_a_disk_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, folders_only: bool
) -> None:
    monkeypatch.setattr(os, call, failing(getattr(os, call), errno.EIO, folders_only=folders_only))
    with pytest.raises(OSError, match="Input/output error"):
        write([tmp_path / "network.keras", tmp_path / "run.json"], "text")


def test_a_file_that_is_a_mount_of_its_own_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", failing(Path.replace, errno.EBUSY))
    with pytest.raises(OSError, match=r"mount its folder instead: '.*state'"), atomic_file(tmp_path / "state"):
        pass
    assert list(tmp_path.iterdir()) == []
