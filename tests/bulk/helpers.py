"""Small sources of images, a bulk run over them, and its output."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import strip_protocol

from bulk.job import Columns
from bulk.sources.sample import Sample
from bulk.sources.shards import read_tar
from bulk.work_unit import WorkUnit
from common.storage import StoredFile, locate
from lensgate.cli import main
from tests.support.images import encode, flat

Row = dict[str, Any]

ANONYMOUS = {"token": "anon"}
"""Options that make gcsfs connect without credentials."""

LIGHT, GREY, DARK = 250, 128, 5
"""Accepted with glasses, discarded as uncertain, accepted without: the fake model's probability is the brightness."""


def face(number: int, *, size: int = 32, kind: str = "PNG") -> bytes:
    """The file of a small picture whose brightness is `number` % 256, and that no other number has."""
    pixels = flat(number % 256, size)
    pixels[0, 0] = [number // 256 % 256, number // 65536, 7]
    return encode(pixels, kind)


def write_faces(folder: Path, numbers: Iterable[int]) -> Path:
    """`face-00000.png` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"face-{number:05d}.png").write_bytes(face(number))
    return folder


def tar_bytes(members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """A tar of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_members(data: bytes) -> dict[str, bytes]:
    """Return the members of a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def samples_of(
    folder: Path, tar: bytes, columns: Columns | None = None, *, max_members: int, whole: bool = False
) -> list[Sample]:
    """The samples of a tar if so many members of one are held."""
    (folder / "x.tar").write_bytes(tar)
    store, path = locate(str(folder / "x.tar"), {})
    files = (StoredFile(path, len(tar), ""),)
    unit = WorkUnit(kind="webdataset", source=str(folder), root=str(folder), slot="x", files=files)
    return list(read_tar(unit, store, columns or Columns(), whole=whole, max_members=max_members))


def parquet_bytes(columns: Mapping[str, Any], *, rows: int = 1_000) -> bytes:
    """A Parquet file with row groups of `rows`."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, row_group_size=rows)
    return buffer.getvalue()


def read_rows(folder: Path) -> list[Row]:
    """The table of a run, read as one Parquet data set."""
    rows: list[Row] = pq.read_table(folder).to_pylist()
    return rows


def shards(folder: Path) -> dict[str, bytes]:
    """The files that are to be seen in a folder, and their bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


@dataclass(frozen=True)
class Bucket:
    """A bucket of an object store, looked at beside the runs."""

    url: str
    store: Any

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        self.store.pipe_file(f"{self.url}/{name}", data)

    def files(self, folder: str) -> dict[str, bytes]:
        """The objects under a folder."""
        paths = self.store.find(f"{self.url}/{folder}")
        return {path.rpartition("/")[2]: self.store.cat_file(path) for path in sorted(paths)}

    def rows(self, folder: str) -> list[Row]:
        """The table in a folder, read as one Parquet data set."""
        path = strip_protocol(f"{self.url}/{folder}")
        rows: list[Row] = pq.read_table(path, filesystem=self.store).to_pylist()
        return rows


@dataclass(frozen=True)
class Ran:
    """The result of one command: exit status, summary as JSON and standard error."""

    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """As `--json` prints it."""
        fields: dict[str, Any] = json.loads(self.out)
        return fields


class Bulk:
    """Runs `lensgate bulk` in this process, with the models of one folder."""

    def __init__(self, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.models = models
        self._capsys = capsys

    def __call__(self, src: Path | str, dst: Path | str, *flags: str | Path) -> Ran:
        self._capsys.readouterr()
        status = main(["bulk", str(src), str(dst), "--models", str(self.models), "--json", *map(str, flags)])
        printed = self._capsys.readouterr()
        return Ran(status, printed.out, printed.err)
