"""A run: compare SRC with DST, hand the units that are missing or stale to an engine, and add up the counts."""

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from bulk.engines.engine import Engine, Watch
from bulk.errors import SourceError
from bulk.job import BulkJob
from bulk.output.destination import Destination
from bulk.output.tally import Tally, UnitResult
from bulk.progress import Progress, Survey
from bulk.sources.ignored import Ignored, describe_ignored
from bulk.sources.source import Source
from bulk.summary import Summary
from bulk.work_unit import WorkUnit


def run(source: Source, job: BulkJob, make_engine: Callable[[], Engine], *, progress: Progress) -> Summary:
    """Bring DST, and KEEP if it is set, up to date with SRC. Units that are up to date are skipped.

    Args:
        source: SRC.
        job: model, band, destinations and options.
        make_engine: returns the engine; called only if a unit has to run.
        progress: receives the counts.

    Raises:
        GateError: the run cannot start or continue; finished shards stay, and the next run resumes after them.
        OSError: SRC cannot be listed, or DST cannot be written.
    """
    tally, ignored = Tally(), Ignored()
    with Destination.opened(job) as destination, Survey(source.units(), progress):
        todo = _todo(source.units(ignored), destination, tally, progress)
        with closing(_results(todo, job, destination, make_engine=make_engine, watch=progress.judged)) as results:
            for result in results:
                destination.finish(result)
                tally.finish(result)
                progress.finished()
        if not tally.slots:
            there = f" ({describe_ignored(ignored.counts)})" if ignored.counts else ""
            raise SourceError(f"{source.url} holds no {source.kind}{there}")
        swept = destination.sweep(source, tally.slots, unlisted=ignored.unlisted)
        failures, strays = destination.failures(), destination.strays()
    return Summary(
        sources=tally.sources,
        skipped=tally.skipped,
        reused=tally.reused,
        removed=swept.removed,
        seconds=progress.seconds,
        ignored=ignored.counts,
        held_back=swept.held_back,
        cells=tally.cells.counts,
        failures=failures,
        strays=strays,
        source_column=job.columns.source,
    )


def _results(
    units: Iterator[WorkUnit],
    job: BulkJob,
    destination: Destination,
    *,
    make_engine: Callable[[], Engine],
    watch: Watch,
) -> Generator[UnitResult, None, None]:
    """Yield the results of the units; the engine is made only if there is one, since Ray takes seconds to start."""
    first = next(units, None)
    if first is None:
        return
    units = itertools.chain([first], units)
    with closing(make_engine().run(units, job, destination.score_cache(), watch=watch)) as results:
        yield from results


def _todo(units: Iterator[WorkUnit], destination: Destination, tally: Tally, progress: Progress) -> Iterator[WorkUnit]:
    for unit in units:
        if unit.slot in tally.slots:  # Two patterns of SRC may match the same file.
            continue
        shard = destination.done(unit)
        if shard is None:
            tally.begin(unit.slot)
            destination.begin(unit)
            yield unit
        else:
            tally.skip(unit.slot, shard.counts, shard.cells)
            progress.skipped(shard.total.images)
