"""The interface of engines, which distribute work units to workers."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import Counts, UnitResult
from bulk.work_unit import WorkUnit

Watch = Callable[[Counts], None]
"""Callback with the counts of images judged since the last call; called from any thread."""


class Engine(Protocol):
    """Runs every work unit once and yields its result, in any order.

    `units` is lazy and lists SRC as it is consumed. An exception of `Worker.run` ends the run and is raised here.
    Closing the generator stops the units in progress.
    """

    def run(
        self, units: Iterator[WorkUnit], job: BulkJob, cache: ScoreCache, *, watch: Watch
    ) -> Generator[UnitResult, None, None]:
        """Run `units`; `cache` holds the scores that DST has already."""
        ...
