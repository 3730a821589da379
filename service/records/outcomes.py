"""Decisions counted in short steps, so that a day is read in a bounded query, also after its records were deleted."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import Connection, delete, func, select

from common.statistics import wilson
from gate import Label, Reason
from service.records.failures import read_failures
from service.records.store import Store, insert_into
from service.records.tables import STEP_SECONDS, failures, outcomes

KEPT_SECONDS = 2 * 86_400
"""Age at which counts are deleted."""

_STEP = STEP_SECONDS * 10**6


class Window(StrEnum):
    """A span of time that ends now."""

    QUARTER = "15m"
    HOUR = "1h"
    DAY = "24h"

    @property
    def steps(self) -> tuple[int, int]:
        """Its number of steps, and the seconds of each."""
        return {Window.QUARTER: (60, STEP_SECONDS), Window.HOUR: (60, 60), Window.DAY: (96, 900)}[self]

    @property
    def fresh_seconds(self) -> float:
        """Age up to which a reading serves further callers."""
        return {Window.QUARTER: 1.0, Window.HOUR: 4.0, Window.DAY: 30.0}[self]


class VersionCounts(BaseModel):
    """The decisions of one version in the window, and the 95 % interval of its reject rate."""

    version: str
    images: int
    glasses: int = Field(description="Images with the label glasses")
    unfamiliar: int
    uncertain: int
    contradicted: int
    reject_ratio: float
    reject_lower: float
    reject_upper: float


class Change(BaseModel):
    """The step from which another version decides most images."""

    time: float = Field(description="Start of the step, seconds since 1970")
    version: str


class OperationsHistory(BaseModel):
    """Decisions and failed requests of a window, from the records; lists of equal length, oldest first."""

    window: Window
    time: float = Field(description="Time of the reading, seconds since 1970")
    step_seconds: int
    times: list[float] = Field(description="Ends of the steps, seconds since 1970")
    decisions: list[int]
    unfamiliar: list[int] = Field(description="Images discarded for this reason")
    uncertain: list[int] = Field(description="Images discarded for this reason")
    contradicted: list[int] = Field(description="Images discarded for this reason")
    errors: dict[str, list[int]] = Field(description="Failed requests, and failed images of uploads, by code")
    versions: list[VersionCounts]
    changes: list[Change]


class _StepCount(NamedTuple):
    """Images of one version, label and reason in a step, which counts from 0 at the start of the window."""

    step: int
    version: str
    label: Label
    reason: Reason
    images: int


def count_outcomes(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add new decisions to the counts of their steps."""
    added = Counter((row["time"] - row["time"] % _STEP, row["version"], row["label"], row["reason"]) for row in rows)
    if not added:
        return
    names = ("step", "version", "label", "reason")
    new = insert_into(connection, outcomes)
    upsert = new.on_conflict_do_update(
        index_elements=list(names), set_={"images": outcomes.c.images + new.excluded.images}
    )
    connection.execute(upsert, [dict(zip(names, key, strict=True)) | {"images": n} for key, n in added.items()])


def prune_counts(connection: Connection, *, now: float) -> None:
    """Delete the counts of old steps."""
    oldest = round((now - KEPT_SECONDS) * 1e6)
    for table in (outcomes, failures):
        connection.execute(delete(table).where(table.c.step < oldest))


def read_history(store: Store, window: Window, *, now: float) -> OperationsHistory:
    """Read the counts of a window that ends with the current step.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    number, seconds = window.steps
    first = int(now // seconds) - number + 1
    width = seconds * 10**6
    bucket = (outcomes.c.step // width).label("bucket")
    columns = (bucket, outcomes.c.version, outcomes.c.label, outcomes.c.reason)
    query = select(*columns, func.sum(outcomes.c.images)).where(outcomes.c.step >= first * width)
    with store.begin() as connection:
        rows = connection.execute(query.group_by(*columns)).all()
        failed = list(read_failures(connection, since=first * width, width=width))
    counts = [
        _StepCount(int(bucket) - first, version, Label(label), Reason(reason), int(images))
        for bucket, version, label, reason, images in rows
        if bucket < first + number
    ]

    def series(*reasons: Reason) -> list[int]:
        return _spread(((count.step, count.images) for count in counts if count.reason in reasons), number)

    return OperationsHistory(
        window=window,
        time=now,
        step_seconds=seconds,
        times=[float((first + step + 1) * seconds) for step in range(number)],
        decisions=series(*Reason),
        unfamiliar=series(Reason.UNFAMILIAR),
        uncertain=series(Reason.UNCERTAIN),
        contradicted=series(Reason.CONTRADICTED),
        errors={
            code: _spread(((at - first, n) for at, its, n in failed if its == code and at - first < number), number)
            for code in sorted({code for _, code, _ in failed})
        },
        versions=_compare(counts),
        changes=_changes(counts, first=first, seconds=seconds),
    )


class HistoryReader:
    """Reads windows, at most once per short time for all callers. Thread-safe.

    Args:
        clock: clock in seconds since 1970.
        monotonic: monotonic clock in seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._locks = {window: threading.Lock() for window in Window}
        self._read: dict[Window, tuple[float, bytes]] = {}

    def show(self, store: Store, window: Window) -> bytes:
        """Return a window as JSON.

        Raises:
            RecordsUnavailable: the store is unreadable.
        """
        with self._locks[window]:
            read, body = self._read.get(window, (float("-inf"), b""))
            if self._monotonic() - read >= window.fresh_seconds:
                body = read_history(store, window, now=self._clock()).model_dump_json().encode()
                self._read[window] = (self._monotonic(), body)
        return body


def _spread(counts: Iterable[tuple[int, int]], number: int) -> list[int]:
    spread = [0] * number
    for at, count in counts:
        spread[at] += count
    return spread


def _compare(counts: Iterable[_StepCount]) -> list[VersionCounts]:
    """Sum by version, the one with the latest decision first."""
    latest: dict[str, int] = {}
    reasons: dict[str, Counter[Reason]] = {}
    glasses: Counter[str] = Counter()
    for count in counts:
        version = count.version
        latest[version] = max(count.step, latest.get(version, 0))
        reasons.setdefault(version, Counter())[count.reason] += count.images
        glasses[version] += count.images if count.label is Label.GLASSES else 0
    return [
        _version_counts(version, reasons[version], glasses[version])
        for version in sorted(latest, key=lambda version: (-latest[version], version))
    ]


def _version_counts(version: str, reasons: Counter[Reason], glasses: int) -> VersionCounts:
    images = reasons.total()
    discarded = images - reasons[Reason.CONFIDENT]
    lower, upper = wilson(discarded, images)
    return VersionCounts(
        version=version,
        images=images,
        glasses=glasses,
        unfamiliar=reasons[Reason.UNFAMILIAR],
        uncertain=reasons[Reason.UNCERTAIN],
        contradicted=reasons[Reason.CONTRADICTED],
        reject_ratio=discarded / images,
        reject_lower=lower,
        reject_upper=upper,
    )


def _changes(counts: Iterable[_StepCount], *, first: int, seconds: int) -> list[Change]:
    """Find the steps at which the version of most images changes; a rollback is such a change, too."""
    by_step: dict[int, Counter[str]] = {}
    for count in counts:
        by_step.setdefault(count.step, Counter())[count.version] += count.images
    changes: list[Change] = []
    before: str | None = None
    for step in sorted(by_step):
        version = max(by_step[step], key=lambda each: (by_step[step][each], each))
        if before is not None and version != before:
            changes.append(Change(time=float((first + step) * seconds), version=version))
        before = version
    return changes
