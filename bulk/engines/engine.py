"""Engines: who runs the parts. Each hands them to workers, which do the rest."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from bulk.job import Job
from bulk.output.tally import Counts, PartResult
from bulk.work.score_cache import Known
from bulk.work_unit import Part

Watch = Callable[[Counts], None]
"""Told of images judged since the last call, from any thread."""


class Engine(Protocol):
    """Runs every part once and yields its result, in any order.

    `parts` lists SRC while it is pulled from. What `Worker.run` raises ends the run and is raised here; a generator
    that is closed stops what still runs.
    """

    def run(self, parts: Iterator[Part], job: Job, known: Known, *, watch: Watch) -> Generator[PartResult, None, None]:
        """Run `parts`, with what DST already knows."""
        ...
