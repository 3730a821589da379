"""A run: what is to be done of SRC is found out, handed to an engine, and added up."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing

from bulk.engines.engine import Engine
from bulk.errors import SourceError
from bulk.job import BulkJob
from bulk.output.destination import Destination
from bulk.output.tally import Tally
from bulk.progress import Progress, Survey
from bulk.sources.ignored import Ignored, describe
from bulk.sources.source import Source
from bulk.summary import Summary
from bulk.work_unit import WorkUnit


def run(source: Source, job: BulkJob, make_engine: Callable[[], Engine], *, progress: Progress) -> Summary:
    """Bring DST, and KEEP if there is one, to what SRC holds now. What is done already is not done again.

    Args:
        source: SRC.
        job: what is done to it.
        make_engine: gives who does it; called only where something is to be done.
        progress: is told of everything.

    Raises:
        GateError: the run cannot begin or go on; what it has finished stays, and the next run goes on from there.
        OSError: SRC cannot be listed, or DST cannot be written.
    """
    tally, ignored = Tally(), Ignored()
    with Destination.opened(job) as destination, Survey(source.units(), progress):
        todo = _todo(source.units(ignored), destination, tally, progress)
        first = next(todo, None)
        if first is not None:
            units = itertools.chain([first], todo)
            with closing(make_engine().run(units, job, destination.score_cache(), watch=progress.judged)) as results:
                for result in results:
                    destination.finish(result)
                    tally.finish(result)
                    progress.finished()
        if not tally.slots:
            there = f" ({describe(ignored.counts)})" if ignored.counts else ""
            raise SourceError(f"{source.url} holds nothing of the kind {source.kind}{there}")
        swept = destination.sweep(source, tally.slots, unlisted=ignored.unlisted)
    return Summary(
        tally.sources,
        tally.skipped,
        tally.reused,
        swept.removed,
        progress.seconds,
        ignored=ignored.counts,
        held_back=swept.held_back,
    )


def _todo(units: Iterator[WorkUnit], destination: Destination, tally: Tally, progress: Progress) -> Iterator[WorkUnit]:
    for unit in units:
        if unit.slot in tally.slots:  # Two patterns of one SRC may name the same file.
            continue
        shard = destination.done(unit)
        if shard is None:
            tally.begin(unit.slot)
            yield unit
        else:
            tally.skip(unit.slot, shard.counts)
            progress.skipped(shard.total.images)
