"""The local engine: threads of this process."""

import math
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bulk.engines.engine import Watch
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import UnitResult
from bulk.work.worker import Worker
from bulk.work_unit import WorkUnit
from gate.cores import usable_cores

# Time for units in progress to notice that the run was stopped.
_STOP_SECONDS = 3.0


class LocalEngine:
    """Decodes on `threads` threads, by default one per core, with several work units in progress.

    While one unit is read, scored or written, images of another keep the cores busy.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or usable_cores()

    def run(
        self, units: Iterator[WorkUnit], job: BulkJob, cache: ScoreCache, *, watch: Watch
    ) -> Generator[UnitResult, None, None]:
        """See `Engine.run`."""
        at_once = max(2, math.ceil(self._threads / 4))
        pool = ThreadPoolExecutor(at_once)
        with Worker(job, cache, threads=self._threads, watch=watch) as worker:
            running: deque[Future[UnitResult]] = deque()
            try:
                for unit in units:
                    running.append(pool.submit(worker.run, unit))
                    if len(running) > at_once:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                worker.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                # A hanging read must not block the end of the run.
                wait([future for future in running if not future.cancelled()], timeout=_STOP_SECONDS)
