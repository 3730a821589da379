"""Engines: who runs the units. Each hands them to workers, which do the rest."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import Counts, UnitResult
from bulk.work_unit import WorkUnit

Watch = Callable[[Counts], None]
"""Told of images judged since the last call, from any thread."""


class Engine(Protocol):
    """Runs every part once and yields its result, in any order.

    `units` lists SRC while it is pulled from. What `Worker.run` raises ends the run and is raised here; a generator
    that is closed stops what still runs.
    """

    def run(
        self, units: Iterator[WorkUnit], job: BulkJob, cache: ScoreCache, *, watch: Watch
    ) -> Generator[UnitResult, None, None]:
        """Run `units`, with what DST already knows."""
        ...
