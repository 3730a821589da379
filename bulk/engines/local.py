"""The local engine: threads of this process."""

import math
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bulk.engines.engine import Watch
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import UnitResult
from bulk.work.worker import Worker
from bulk.work_unit import WorkUnit

# What parts that are under way may take to notice that the run was stopped.
_STOP_SECONDS = 3.0


class LocalEngine:
    """Decodes on `threads` threads, by default one a core, and always has a further part under way.

    While one part is read for the first time, scored or written, the images of another keep the cores busy.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))

    def run(
        self, units: Iterator[WorkUnit], job: BulkJob, cache: ScoreCache, *, watch: Watch
    ) -> Generator[UnitResult, None, None]:
        """As `Engine` says."""
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
                # A read that hangs must not keep the run from ending.
                wait(running, timeout=_STOP_SECONDS)
