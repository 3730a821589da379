"""Bounded reads."""

import io
import tracemalloc
from pathlib import Path

import pytest

from gate.files import read_at_most, read_regular

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
