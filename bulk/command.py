"""`lensgate bulk`: run with the options, print the summary and return the exit status."""

import argparse
import contextlib
import importlib
import signal
import sys
from functools import partial

from bulk.engines.engine import Engine
from bulk.engines.local import LocalEngine
from bulk.errors import UsageError
from bulk.preflight import check_job
from bulk.progress import Progress
from bulk.run import run
from bulk.settings import Settings
from bulk.sources.source import open_source
from bulk.summary import Summary
from bulk.work_unit import SourceKind
from common.errors import UrlError
from common.signals import Interrupted, interruptible
from common.storage import without_secrets
from common.terminal import say
from gate.errors import GateError

FAULT, USAGE, REJECTED, NONE_JUDGED = 1, 2, 3, 4
"""Exit statuses: failure; invalid arguments; reject ratio above the limit; no image could be judged."""

GRACE_SECONDS, RAY_GRACE_SECONDS = 5.0, 30.0
"""Seconds for a clean stop; then the process exits as if killed, which loses no finished shard.

Ray takes longer to end its own processes.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bulk(options: argparse.Namespace) -> int:
    """Run; return 0 or one of the statuses above."""
    try:
        settings = Settings.load({name: getattr(options, name) for name in Settings.model_fields})
        grace = RAY_GRACE_SECONDS if settings.engine == "ray" else GRACE_SECONDS
        with interruptible(_SIGNALS, grace=grace):
            summary = _run(settings)
    except (UsageError, UrlError) as error:
        return _fail(str(error), USAGE)
    except Interrupted as error:
        return _fail("stopped; run the same command again to resume after the finished shards", error.status)
    except (GateError, OSError) as error:
        return _fail(str(error), FAULT)
    try:
        if options.json:
            print(summary.to_json(), flush=True)  # noqa: T201 - JSON is not escaped for people.
        else:
            say(*summary.lines(), f"table: {settings.dst}")
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(f"the summary cannot be written to standard output: {error}", FAULT)
    for warning in summary.warnings():
        _tell(warning)
    return _status(summary, settings.max_reject_ratio)


def _status(summary: Summary, limit: float) -> int:
    total = summary.total
    if total.reject_ratio > limit:
        rejected = f"{total.discarded + total.errors:,} of {total.images:,} images"
        return _fail(
            f"reject ratio {total.reject_ratio:.4f} ({rejected}) is above --max-reject-ratio {limit}", REJECTED
        )
    if summary.is_empty_handed:
        reason = "the column error of the table gives the reasons" if total.errors else "SRC holds none"
        return _fail(f"no image could be judged: {reason}", NONE_JUDGED)
    return 0


def _fail(text: str, status: int) -> int:
    # The errors of stores quote the URL of the request.
    _tell(without_secrets(text))
    return status


def _tell(text: str) -> None:
    say(f"lensgate: {text}", error=True)


def _run(settings: Settings) -> Summary:
    job = settings.job()
    outputs: dict[str, SourceKind] = {job.target: "parquet"}
    if job.keep:
        outputs[job.keep] = "webdataset"
    source = open_source(settings.src, settings.storage_options, kind=settings.format, outputs=outputs)
    check_job(source, job)
    progress = Progress(sys.stderr)
    with contextlib.closing(progress):
        return run(source, job, partial(_make_engine, settings), progress=progress)


def _make_engine(settings: Settings) -> Engine:
    if settings.engine == "local":
        return LocalEngine(settings.workers)
    # Only this engine needs the extra `ray`.
    engine: Engine = importlib.import_module("bulk.engines.ray.engine").RayEngine(
        address=settings.ray_address, actors=settings.ray_actors, threads=settings.workers
    )
    return engine
