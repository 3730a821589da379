"""Parquet in stores is read on the caller's thread alone.

Arrow's threads release a file of Python at any time after it was read. At the end of the process they find no
interpreter and abort: runs whose output was complete ended with status 134.
"""

import io
import threading
from pathlib import Path

import pytest

from bulk.job import Columns
from bulk.output.table import read_columns
from bulk.sources.rows import read_rows
from bulk.work_unit import WorkUnit
from common.storage import LocalFiles, StoredFile
from tests.bulk.helpers import LIGHT, face, parquet_bytes

TABLE = parquet_bytes({name: [face(LIGHT + number) for number in range(100)] for name in ("image", "id", "other")})


class _Recorded(io.BytesIO):
    """Notes the threads that read it."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def test_a_table_is_read_on_the_caller_s_thread() -> None:
    file = _Recorded()
    assert read_columns(file, "image", "other").num_rows == 100
    assert file.threads == {threading.get_ident()}


def test_rows_are_read_on_the_caller_s_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    file = _Recorded()
    monkeypatch.setattr(LocalFiles, "open", lambda *_, **__: file)
    monkeypatch.setattr(LocalFiles, "is_local", False)
    path = "/x.parquet"
    files = (StoredFile(path, len(TABLE), "1"),)
    unit = WorkUnit(kind="parquet", source=path, root=str(Path(path).parent), slot="x", files=files)
    assert len(list(read_rows(unit, LocalFiles(), Columns()))) == 100
    assert file.threads == {threading.get_ident()}
