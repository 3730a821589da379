"""The worker: read a unit, score it and commit its shard."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Self

from bulk.job import BulkJob
from bulk.output.accepted_tar import AcceptedTar, kept_name
from bulk.output.score_cache import ScoreCache
from bulk.output.table import ENDING, TableWriter
from bulk.output.tally import Counts, UnitResult
from bulk.sources.source import read_unit
from bulk.work.batch_scorer import BatchScorer, ScoredSample
from bulk.work_unit import WorkUnit
from common.storage import locate
from gate import Action
from gate.golden import open_scorer


class Worker:
    """Runs units. Thread-safe: several threads may run one each.

    Args:
        job: the job.
        cache: scores of images that were scored before.
        threads: number of images decoded at a time.
        watch: receives counts as images are judged, from any thread.

    Raises:
        GateError: the model cannot run here, or its scores differ from those at export.
    """

    def __init__(
        self, job: BulkJob, cache: ScoreCache, *, threads: int, watch: Callable[[Counts], None] = lambda _: None
    ) -> None:
        scorer = open_scorer(job.model, device=job.device, max_batch_size=job.batch_size)
        self._job, self._watch = job, watch
        self._target, self._target_path = locate(job.target, job.storage_options)
        # Without KEEP no tar is written, and the target stands in.
        self._accepted, self._accepted_path = locate(job.keep or job.target, job.storage_options)
        self._scorer = BatchScorer(job, cache, scorer, threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Shut down the threads."""
        self._scorer.close()

    def stop(self) -> None:
        """Make all running units raise `Stopped` without writing a shard. Thread-safe."""
        self._scorer.stop()

    def run(self, unit: WorkUnit) -> UnitResult:
        """Score a unit and commit its tar of accepted images, then its shard. Idempotent.

        Raises:
            Stopped: `stop` was called.
            ScoringError: the model fails on any image.
            OSError: DST or KEEP cannot be written.
        """
        name = kept_name(unit, self._job)
        # Contexts exit in reverse order: the tar appears before the shard that refers to it.
        with (
            self._target.publish(f"{self._target_path}/{unit.slot}{ENDING}") as path,
            TableWriter(path, self._job.model.card.version) as table,
            AcceptedTar(self._accepted, f"{self._accepted_path}/{name}") as accepted,
        ):
            reused = self._fill(unit, table, accepted)
            table.finish(unit, self._job)
        result = UnitResult(unit.slot, table.counts, reused, cells=table.cells.counts)
        return replace(result, kept=name) if self._job.keep and result.total.accepted else result

    def _fill(self, unit: WorkUnit, table: TableWriter, accepted: AcceptedTar) -> int:
        """Write all rows; return the number of cached scores."""
        store, _ = locate(unit.source, self._job.storage_options)
        samples = read_unit(unit, store, self._job.columns, whole=self._job.keep is not None)
        reused = 0
        with closing(self._scorer.judge(samples)) as batches:
            for batch in batches:
                for judged in batch:
                    self._write(judged, table, accepted)
                    reused += judged.is_reused
                self._watch(sum((judged.row.counts for judged in batch), Counts()))
        return reused

    @staticmethod
    def _write(judged: ScoredSample, table: TableWriter, accepted: AcceptedTar) -> None:
        table.add(judged.row)
        decision = judged.row.decision
        if judged.data is not None and decision is not None and decision.action is Action.ACCEPT:
            accepted.add(judged.sample, judged.data)
