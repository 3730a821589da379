"""Outputs in shared memory: complete, or an error."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.api.v2 import shared_memory
from service.api.v2.request import SharedMemoryRange
from service.api.v2.shared_memory import SharedMemoryRegions, check_apart
from service.errors import MalformedRequest

SIZE, ROOM = 60_000, 20_000


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel write only the part of a file below `size`, as it does where memory runs out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_output_that_is_written_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    (tmp_path / "key").write_bytes(bytes(SIZE))
    regions = SharedMemoryRegions(enabled=True)
    regions.register("out", "key", offset=100, size=SIZE - 100)
    part = SharedMemoryRange("out", 10, SIZE - 110)
    with largest_file(ROOM), pytest.raises(MalformedRequest, match="region 'out' cannot be written: file too large"):
        regions.write(part, b"x" * part.size)
    regions.write(part, b"y" * part.size)
    assert (tmp_path / "key").read_bytes() == bytes(110) + b"y" * part.size
    regions.unregister()


def test_an_object_that_was_replaced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    (tmp_path / "key").write_bytes(b"old")
    regions = SharedMemoryRegions(enabled=True)
    regions.register("in", "/key", offset=0, size=3)
    part = SharedMemoryRange("in", 0, 3)
    (tmp_path / "key").rename(tmp_path / "kept")  # Its inode number is not used again.
    assert regions.read(part) == b"old"
    (tmp_path / "key").write_bytes(b"new")
    with pytest.raises(MalformedRequest, match="another shared memory object has the key '/key' of region 'in' now"):
        regions.read(part)
    with pytest.raises(MalformedRequest, match="unregister the region"):
        regions.write(part, b"out")
    regions.unregister("in")
    regions.register("in", "/key", offset=0, size=3)
    assert regions.read(part) == b"new"
    regions.unregister()


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 7), (7, 0)])
def test_outputs_that_would_overwrite_each_other_are_an_error(first: int, second: int) -> None:
    parts = [(SharedMemoryRange("out", offset, 64), b"12345678") for offset in (first, second)]
    with pytest.raises(MalformedRequest, match=r"two outputs overlap in region 'out' at offset [07]: give each"):
        check_apart(parts)


def test_ranges_with_more_room_than_their_outputs_may_overlap() -> None:
    check_apart([(SharedMemoryRange(region, offset, 64), b"12345678") for region in ("a", "b") for offset in (8, 0)])
