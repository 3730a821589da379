"""The worker: reads a unit, has it judged and commits its shard."""

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
from bulk.work.batch_scorer import BatchScorer, ScoredSamples
from bulk.work_unit import WorkUnit
from common.storage import locate
from gate import Action
from gate.golden import check_golden
from gate.scorer import Scorer
from gate.time_limit import TimeLimit


class Worker:
    """Runs parts; several threads may each run one at the same time.

    Args:
        job: what is done.
        cache: scores that need not be found out again.
        threads: how many images are decoded at a time.
        watch: is told of images as they are judged, from any thread.

    Raises:
        GateError: the model cannot be run here, or computes something else than at export.
    """

    def __init__(
        self, job: BulkJob, cache: ScoreCache, *, threads: int, watch: Callable[[Counts], None] = lambda _: None
    ) -> None:
        with TimeLimit() as limit:
            scorer = Scorer(job.model, device=job.device, limit=limit)
            with scorer.limited(limit):
                check_golden(scorer, job.model.card)
        self._job, self._watch = job, watch
        self._target, self._target_path = locate(job.target, job.storage_options)
        # Without KEEP there is nothing to write there.
        self._accepted, self._accepted_path = locate(job.keep or job.target, job.storage_options)
        self._scorer = BatchScorer(job, cache, scorer, threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the threads."""
        self._scorer.close()

    def stop(self) -> None:
        """Have every part that is run end with `Stopped`, soon and without a shard. May be called from any thread."""
        self._scorer.stop()

    def run(self, unit: WorkUnit) -> UnitResult:
        """Score a unit and commit its tar of accepted images, then its shard. A repeat writes the same bytes.

        Raises:
            Stopped: by `stop`.
            ScoringError: the model fails, whatever the image.
            OSError: DST or KEEP cannot be written to.
        """
        name = kept_name(unit, self._job)
        # What was entered last ends first: the tar appears before the shard that vouches for it.
        with (
            self._target.publish(f"{self._target_path}/{unit.slot}{ENDING}") as path,
            TableWriter(path, self._job.model.card.version) as table,
            AcceptedTar(self._accepted, f"{self._accepted_path}/{name}") as accepted,
        ):
            reused = self._fill(unit, table, accepted)
            table.finish(unit, self._job)
        result = UnitResult(unit.slot, table.counts, reused)
        return replace(result, kept=name) if self._job.keep and result.total.accepted else result

    def _fill(self, unit: WorkUnit, table: TableWriter, accepted: AcceptedTar) -> int:
        """Write all rows; the number of those whose scores were known."""
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
    def _write(judged: ScoredSamples, table: TableWriter, accepted: AcceptedTar) -> None:
        table.add(judged.row)
        decision = judged.row.decision
        if judged.data is not None and decision is not None and decision.action is Action.ACCEPT:
            accepted.add(judged.sample, judged.data)
