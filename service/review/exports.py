"""Export verdicts for training: a table of corrections, and a labelled data set in the Kaggle layout."""

import csv
import io
import json
import tarfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from sqlalchemy import ColumnElement, Row, Select, exists, literal, select, tuple_

from common.terminal import escape_formula
from gate import Label
from gate.header import IMAGE_ENDINGS
from service.http.responses import write_table
from service.records.serialization import DAY_MICROSECONDS, show_day
from service.records.store import Store
from service.records.tables import decisions, images, verdicts

FOLDER = "reviewed"
"""Folder in the tar, and so the name of the data set."""


_LINES = 10_000  # Each page sorts all verdicts.
_PART_LINES = 1_000  # Larger parts keep the event loop and other exports waiting.
_PREVIEWS = 64  # About 15 kB each.
_BLOCK = 512
_LATEST = 8**11 - 1  # The largest number of a tar's header.
_ABOUT = {"source": "images that a Lensgate service kept for review, at most 256 x 256, labelled by its reviewers"}


class Ids(StrEnum):
    """The id in a table of corrections: the record's ULID, or the caller's name of the image."""

    RECORD = "record"
    CALLER = "caller"


def write_corrections(store: Store, ids: Ids, *, page: int = _LINES) -> Iterator[str]:
    """Yield the lines of `corrections.csv`, oldest verdict first, since training uses the last line of an image.

    Raises:
        RecordsUnavailable: the store is unreadable; before the first line, or later in the middle.
    """
    return write_table(("id", "label", "reason"), _correction_parts(store, ids, page), line_end="\n")


def write_dataset(store: Store, *, page: int = _PREVIEWS) -> Iterator[bytes]:
    """Yield a tar of the images with a definite verdict: `faces/face-<record>.jpg`, `about.json`, then `train.csv`.

    `train.csv` has the columns `id`, `glasses` and `source`, the generator of the image where it is known.

    The latest of several verdicts on the same bytes counts. Streams in bounded memory.

    Raises:
        RecordsUnavailable: the store is unreadable; before the first byte, or later in the middle.
    """
    with SpooledTemporaryFile(max_size=2**20, mode="w+b") as table:
        table.write(_lines([("id", "glasses", "source")]))
        for rows in _pages(store, _labelled(), (verdicts.c.record,), size=page):
            yield b"".join(_member(f"faces/{_name(row.record)}.jpg", row.jpeg, at=row.time) for row in rows)
            table.write(_lines(map(_example, rows)))
        now = round(time.time() * 1e6)
        yield _member("about.json", json.dumps(_ABOUT).encode(), at=now)
        yield from _large_member("train.csv", table, at=now)
    yield bytes(2 * _BLOCK)


def _correction_parts(store: Store, ids: Ids, page: int) -> Iterator[list[tuple[str, str, str]]]:
    shared = _shared_names(store, page) if ids is Ids.CALLER else frozenset()
    for rows in _pages(store, _corrections(), (verdicts.c.time, verdicts.c.record), size=page):
        for start in range(0, len(rows) or 1, _PART_LINES):
            yield [(_named(row, ids, shared), row.verdict, _reason(row)) for row in rows[start : start + _PART_LINES]]


def _shared_names(store: Store, page: int) -> frozenset[str]:
    """Return the names, as training uses them, that different images have in several folders."""
    first: dict[str, tuple[PurePosixPath, str | None]] = {}
    shared: set[str] = set()
    for rows in _pages(store, _corrections(), (verdicts.c.time, verdicts.c.record), size=page):
        for row in rows:
            name, folder = _name(_stem(row.id)), PurePosixPath(row.id).parent
            known, sha256 = first.setdefault(name, (folder, row.sha256))
            if folder != known and (sha256 is None or sha256 != row.sha256):
                shared.add(name)
    return frozenset(shared)


def _corrections() -> Select[Any]:
    return select(
        verdicts.c.record,
        decisions.c.id,
        decisions.c.sha256,
        decisions.c.probability,
        decisions.c.label,
        decisions.c.reason,
        verdicts.c.verdict,
        verdicts.c.reviewer,
        verdicts.c.time,
    ).join(decisions, decisions.c.record == verdicts.c.record)


def _labelled() -> Select[Any]:
    """Select previews with a definite verdict that no later verdict on the same bytes overrules."""
    again, later = decisions.alias(), verdicts.alias()
    is_overruled = exists().where(
        again.c.sha256 == decisions.c.sha256,
        later.c.record == again.c.record,
        tuple_(later.c.time, later.c.record) > tuple_(verdicts.c.time, verdicts.c.record),
    )
    return (
        select(verdicts.c.record, verdicts.c.verdict, verdicts.c.time, decisions.c.source, images.c.jpeg)
        .join(decisions, decisions.c.record == verdicts.c.record)
        .join(images, images.c.record == verdicts.c.record)
        .where(verdicts.c.verdict.in_(list(Label)), ~is_overruled)
    )


def _pages(
    store: Store, query: Select[Any], key: Sequence[ColumnElement[Any]], *, size: int
) -> Iterator[Sequence[Row[Any]]]:
    """Yield all rows in the order of `key` in pages, one transaction each; the first page may be empty."""
    first = query.order_by(*key).limit(size)
    page = first
    while True:
        with store.begin() as connection:
            rows = connection.execute(page).all()
        yield rows
        if len(rows) < size:
            return
        last = (literal(rows[-1]._mapping[column], column.type) for column in key)
        page = first.where(tuple_(*key) > tuple_(*last))


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _name(identity: str) -> str:
    """Return the name that training uses. The prefix also keeps spreadsheets from reading it as a formula."""
    return f"face-{identity.removeprefix('face-')}"


def _stem(identity: str) -> str:
    """Return the caller's file name without folder and extension."""
    path = PurePosixPath(identity)
    return (path.stem if path.suffix.lower() in IMAGE_ENDINGS else path.name) or identity


def _example(row: Row[Any]) -> tuple[str, int, str | None]:
    return _name(row.record), int(row.verdict == Label.GLASSES), escape_formula(row.source)


def _named(row: Row[Any], ids: Ids, shared: Collection[str]) -> str:
    """Return the image's name. One that is shared stays with its folder: training names it, and corrects no other."""
    if ids is Ids.RECORD:
        return _name(row.record)
    name = _name(_stem(row.id))
    return _name(row.id) if name in shared else name


def _reason(row: Row[Any]) -> str:
    said = f"{row.label} ({row.probability:.4f}, {row.reason})"
    return f"judged by {row.reviewer} on {show_day(row.time // DAY_MICROSECONDS)}; the model said {said}"


def _member(name: str, data: bytes, *, at: int) -> bytes:
    return _header(name, len(data), at=at) + data + _padding(len(data))


def _large_member(name: str, file: IO[bytes], *, at: int) -> Iterator[bytes]:
    size = file.tell()
    file.seek(0)
    yield _header(name, size, at=at)
    while chunk := file.read(2**16):
        yield chunk
    yield _padding(size)


def _header(name: str, size: int, *, at: int) -> bytes:
    member = tarfile.TarInfo(f"{FOLDER}/{name}")
    # A clock that was wrong at one verdict must not spoil every later export.
    member.size, member.mtime = size, min(max(0, at // 10**6), _LATEST)
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
