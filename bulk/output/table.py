"""A shard of the table: one Parquet file per unit, with the same bytes for the same images."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bulk.errors import RowError
from bulk.job import BulkJob
from bulk.output.tally import Counts, SourceCells
from bulk.work_unit import SourceKind, WorkUnit
from common.source_report import Cell, bin_of
from common.terminal import printable
from common.webdataset import distinct_path
from gate import Action, Decision, ImageError, Label, Reason
from gate.scorer import Score

ENDING = ".parquet"
METADATA_KEY = b"lensgate.part"
SCORES = ("sha256", "glasses_probability", "novelty")
"""The columns that `read_scores` reads."""

Scored = tuple[NDArray[np.bytes_], NDArray[np.float32], NDArray[np.float32]]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        ("sha256", pa.string()),
        ("glasses_probability", pa.float64()),
        ("label", pa.string()),
        ("decision", pa.string()),
        ("reason", pa.string()),
        ("novelty", pa.float64()),
        ("expected", pa.string()),
        ("error", pa.string()),
        ("detail", pa.string()),
        pa.field("model_version", pa.string(), nullable=False),
    ]
)

# Limits on rows, and on characters of ids and errors, held before writing: a tar may have millions of images.
_GROUP_ROWS = 16_384
_GROUP_CHARACTERS = 16 * 2**20
_DETAIL_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """One image: its score and decision, or its error.

    `source` is the folder, tar or Parquet file that holds it, `named_source` the generator, checkpoint or run.
    """

    id: str
    source: str
    _: KW_ONLY
    sha256: bytes | None
    expected: Label | None
    score: Score | None
    decision: Decision | None
    error: ImageError | RowError | None
    named_source: str | None

    @property
    def shown_source(self) -> str:
        """The named source, otherwise the place of the image."""
        return self.named_source or distinct_path(self.source)

    @property
    def cell(self) -> Cell | None:
        """The cell of the report by source in which it counts; None without a decision."""
        if self.score is None or self.decision is None:
            return None
        return Cell(self.shown_source, self.expected, bin_of(self.score.probability), self.decision.reason)

    @property
    def counts(self) -> Counts:
        """The counts of this one image."""
        if self.decision is None:
            return Counts(errors=1)
        return Counts(accepted=1) if self.decision.action is Action.ACCEPT else Counts(discarded=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The metadata of a shard: its unit, the unit's state, and the counts of its images.

    `may_pass` marks a shard with an error that may be transient.
    """

    slot: str
    kind: SourceKind
    source: str
    fingerprint: str
    score_key: str
    decision_key: str
    may_pass: bool
    counts: Mapping[str, Counts]
    cells: Mapping[Cell, int]

    @property
    def total(self) -> Counts:
        """Over all its sources."""
        return sum(self.counts.values(), Counts())

    def is_from(self, kind: SourceKind, source: str) -> bool:
        """Return whether its unit came from this source."""
        return (self.kind, self.source) == (kind, source)

    def has_rows_under(self, folders: Iterable[str]) -> bool:
        """Return whether any of its rows comes from one of `folders` or from below it."""
        names = [distinct_path(folder) for folder in folders]
        return any(f"{source}/".startswith(f"{name}/") for source in self.counts for name in names)

    def is_of(self, unit: WorkUnit, job: BulkJob) -> bool:
        """Return whether it is up to date for `unit` and `job`."""
        return (self.fingerprint, self.decision_key, self.may_pass) == (unit.fingerprint, job.decision_key, False)

    def to_json(self) -> bytes:
        """Return the bytes stored in the file's metadata."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name not in ("counts", "cells")}
        counts = {source: [each.accepted, each.discarded, each.errors] for source, each in self.counts.items()}
        cells = [[*cell, images] for cell, images in self.cells.items()]
        return json.dumps({**fields, "counts": counts, "cells": cells}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse the bytes of `to_json`."""
        fields: dict[str, Any] = json.loads(data)
        counts = {source: Counts(*numbers) for source, numbers in fields.pop("counts").items()}
        # Earlier releases wrote no cells; their shards are decided again.
        cells = {
            Cell(source, expected and Label(expected), number, Reason(reason)): images
            for source, expected, number, reason, images in fields.pop("cells", ())
        }
        return cls(**fields, counts=counts, cells=cells)


def _table(rows: Sequence[Row], version: str) -> pa.Table:
    return pa.Table.from_pylist([_fields(row, version) for row in rows], SCHEMA)


def _fields(row: Row, version: str) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": printable(row.id),
        "source": row.shown_source,
        "file": distinct_path(row.source),
        "sha256": row.sha256 and row.sha256.hex(),
        "expected": row.expected,
        "model_version": version,
    }
    if row.score is not None and row.decision is not None:
        fields |= {"glasses_probability": row.score.probability, "novelty": row.score.novelty}
        fields |= {"label": row.decision.label, "decision": row.decision.action, "reason": row.decision.reason}
    if row.error is not None:
        fields |= {"error": row.error.code, "detail": printable(str(row.error)[:_DETAIL_CHARACTERS])}
    return fields


class TableWriter:
    """Writes the rows of one unit to `path`, then the shard's metadata; `group_rows` are held before writing."""

    def __init__(self, path: Path, version: str, *, group_rows: int = _GROUP_ROWS) -> None:
        self.counts: dict[str, Counts] = {}
        self.cells = SourceCells()
        self._may_pass = False
        self._version, self._group_rows = version, group_rows
        self._rows: list[Row] = []
        self._characters = 0
        # Options that determine the bytes are explicit, so that new defaults of Arrow do not change them.
        self._writer = pq.ParquetWriter(
            path, SCHEMA, version="2.6", compression="zstd", compression_level=3, data_page_version="1.0"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)
        self._characters += len(row.id) + min(len(str(row.error or "")), _DETAIL_CHARACTERS)
        source = distinct_path(row.source)
        self.counts[source] = self.counts.get(source, Counts()) + row.counts
        if (cell := row.cell) is not None:
            self.cells.add(cell)
        self._may_pass |= isinstance(row.error, RowError) and row.error.may_pass
        if len(self._rows) == self._group_rows or self._characters >= _GROUP_CHARACTERS:
            self._flush()

    def finish(self, unit: WorkUnit, job: BulkJob) -> None:
        """Write the remaining rows and the metadata."""
        self._flush()
        shard = Shard(
            slot=unit.slot,
            kind=unit.kind,
            source=unit.source,
            fingerprint=unit.fingerprint,
            score_key=job.score_key,
            decision_key=job.decision_key,
            may_pass=self._may_pass,
            counts=self.counts,
            cells=self.cells.counts,
        )
        self._writer.add_key_value_metadata({METADATA_KEY: shard.to_json()})

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(_table(self._rows, self._version), row_group_size=self._group_rows)
            self._rows.clear()
            self._characters = 0


def read_columns(file: IO[bytes], *names: str) -> pa.Table:
    """Return these columns of a shard.

    Arrow's threads release the file that they read at any time later. At the end of the process that needs an
    interpreter which is gone, and aborts: `pyarrow.parquet.read_table` uses them always.
    """
    with pq.ParquetFile(file, pre_buffer=False) as opened:
        return opened.read(list(names), use_threads=False)


def read_shard(metadata: pq.FileMetaData) -> Shard | None:
    """Return the metadata of a shard; None if another program or version wrote the file."""
    try:
        return Shard.from_json((metadata.metadata or {})[METADATA_KEY])
    except (KeyError, TypeError, ValueError):
        return None


def read_scores(table: pa.Table) -> Scored:
    """Return hashes as `S32`, and probability and novelty as float32, each `[N]`, from a table of the columns `SCORES`.

    Images without a score are left out; a missing novelty is NaN.
    """
    table = table.filter(pc.is_valid(table["glasses_probability"]))
    hashes = bytes.fromhex("".join(table["sha256"].to_pylist()))
    novelty = pc.fill_null(table["novelty"], float("nan"))
    return (
        np.frombuffer(hashes, "S32"),
        table["glasses_probability"].to_numpy().astype(np.float32),
        novelty.to_numpy().astype(np.float32),
    )
