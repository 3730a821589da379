"""DST and KEEP: lock them, clean up after killed runs, and read the shards of earlier runs."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bulk.errors import DestinationError
from bulk.job import BulkJob
from bulk.output.accepted_tar import kept_name
from bulk.output.failures import Failure, read_failures
from bulk.output.folder import Folder
from bulk.output.score_cache import ScoreCache
from bulk.output.table import ENDING, SCORES, Scored, Shard, read_columns, read_scores, read_shard
from bulk.output.tally import UnitResult
from bulk.sources.source import Source
from bulk.work_unit import WorkUnit

_KEPT = re.compile(r"(.+-[0-9a-f]{12})-[0-9a-f]{8}\.tar")


@dataclass(frozen=True, slots=True)
class Swept:
    """The number of shards that were removed, and of those kept because their folder could not be listed."""

    removed: int
    held_back: int


class Destination:
    """The contents of DST and KEEP; made by `opened`."""

    def __init__(self, job: BulkJob, table: Folder, accepted: Folder | None) -> None:
        self._job, self._table, self._accepted = job, table, accepted
        self._shards = _read_shards(table)
        self._faulty: set[str] = set()
        self._begun: set[str] = set()
        self._kept = self._read_kept()
        self._old = frozenset(itertools.chain(*self._kept.values()))

    @classmethod
    @contextlib.contextmanager
    def opened(cls, job: BulkJob) -> Iterator[Self]:
        """Lock DST and KEEP, remove unfinished files of killed runs, and read the shards.

        Raises:
            DestinationError: DST holds foreign Parquet files.
            FolderInUse: another run is writing there.
        """
        table = Folder(job.target, job.storage_options)
        accepted = Folder(job.keep, job.storage_options) if job.keep else None
        with contextlib.ExitStack() as stack:
            unfinished: list[str] = []
            for folder in filter(None, (table, accepted)):
                stack.enter_context(folder.locked())
                unfinished += folder.sweep()
                # Workers of this run may have died too.
                stack.callback(folder.sweep)
            destination = cls(job, table, accepted)
            slots = {name.partition(f"{ENDING}-")[0] for name in unfinished}
            destination._drop_tars(slots - destination._shards.keys())
            stack.callback(destination._drop_unfinished)
            yield destination

    def done(self, unit: WorkUnit) -> Shard | None:
        """Return the unit's shard if it is up to date: same files, model, band and rule, and its tar exists."""
        shard = self._shards.get(unit.slot)
        if shard is None or not (unit.has_versions and shard.is_of(unit, self._job)):
            return None
        name = kept_name(unit, self._job) if self._accepted and shard.total.accepted else None
        if name is not None and name not in self._kept.get(unit.slot, ()):
            return None
        self._keep_only(unit.slot, name)
        if shard.total.errors:
            self._faulty.add(unit.slot)
        return shard

    def begin(self, unit: WorkUnit) -> None:
        """Note that a unit will run. Without a shard at the end of the run it has no tar either."""
        self._begun.add(unit.slot)

    def finish(self, result: UnitResult) -> None:
        """Remove the tars in KEEP of earlier states of a committed unit."""
        self._begun.discard(result.slot)
        self._keep_only(result.slot, result.kept)
        if result.total.errors:
            self._faulty.add(result.slot)

    def failures(self) -> tuple[Failure, ...]:
        """Return the images of SRC that could not be judged, by code, from the shards of this and earlier runs."""
        with ThreadPoolExecutor(self._table.readers) as pool:
            return read_failures(self._table, [f"{slot}{ENDING}" for slot in self._faulty], pool)

    def score_cache(self) -> ScoreCache:
        """Read the scores of all images in DST that the job's model scored."""
        names = [f"{slot}{ENDING}" for slot, shard in self._shards.items() if shard.score_key == self._job.score_key]
        if not names:
            return ScoreCache.empty()
        with ThreadPoolExecutor(self._table.readers) as pool:
            scores = list(pool.map(self._scores, names))
        hashes, probability, novelty = (np.concatenate(arrays) for arrays in zip(*scores, strict=True))
        return ScoreCache.of(hashes, probability, novelty)

    def sweep(self, source: Source, slots: Set[str], *, unlisted: Sequence[str] = ()) -> Swept:
        """Remove the shards of units that are no longer in `source`, whose current slots are `slots`.

        A shard with rows from an `unlisted` folder is kept, because its images may still exist.
        """
        of_source = {slot for slot, shard in self._shards.items() if shard.is_from(source.kind, source.url)}
        gone = of_source - slots
        held_back = {slot for slot in gone if self._shards[slot].has_rows_under(unlisted)}
        for slot in gone - held_back:
            # A run that is killed in between finds the shard, and removes it then.
            self._keep_only(slot, None)
            self._table.remove(f"{slot}{ENDING}")
        return Swept(len(gone - held_back), len(held_back))

    def strays(self) -> tuple[str, ...]:
        """Return the tars in KEEP that have no shard in DST, after `sweep`: another DST may have written them."""
        return tuple(sorted(itertools.chain(*(self._kept[slot] for slot in self._kept.keys() - self._shards.keys()))))

    def _read_kept(self) -> dict[str, set[str]]:
        kept: dict[str, set[str]] = {}
        for name in self._accepted.names() if self._accepted else ():
            if match := _KEPT.fullmatch(name):
                kept.setdefault(match[1], set()).add(name)
        return kept

    def _drop_unfinished(self) -> None:
        """Remove the tars of this run whose shard could not be written."""
        if self._begun and self._accepted:
            there = {name.removesuffix(ENDING) for name in self._table.names()}
            self._kept = {slot: names - self._old for slot, names in self._read_kept().items()}
            self._drop_tars(self._begun - there)

    def _drop_tars(self, slots: Set[str]) -> None:
        for slot in slots:
            self._keep_only(slot, None)

    def _scores(self, name: str) -> Scored:
        with self._table.opened(name) as file:
            return read_scores(read_columns(file, *SCORES))

    def _keep_only(self, slot: str, name: str | None) -> None:
        if self._accepted is not None:
            for other in self._kept.pop(slot, set()) - {name}:
                self._accepted.remove(other)


def _read_shards(folder: Folder) -> dict[str, Shard]:
    def read(name: str) -> Shard | None:
        try:
            with folder.opened(name) as file:
                shard = read_shard(pq.read_metadata(file))
        except FileNotFoundError:
            # Removed since it was listed: some stores list an object for a while, and have no locks against other runs.
            return None
        except (pa.ArrowException, OSError) as error:
            raise DestinationError(f"{folder.url}/{name} cannot be read, remove it and run again: {error}") from error
        if shard is None or f"{shard.slot}{ENDING}" != name:
            raise DestinationError(f"{folder.url}/{name} is not a shard of this version: choose another folder for DST")
        return shard

    names = [name for name in folder.names() if name.endswith(ENDING)]
    with ThreadPoolExecutor(folder.readers) as pool:
        return {shard.slot: shard for shard in pool.map(read, names) if shard is not None}
