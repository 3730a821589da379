"""`lensgate bulk`."""

import argparse
import contextlib
import importlib
import sys
from functools import partial

from bulk.check import check_job
from bulk.engine import Engine
from bulk.errors import UsageError
from bulk.local import LocalEngine
from bulk.progress import Progress
from bulk.run import run
from bulk.settings import Settings, flag
from bulk.sources.source import open_source
from bulk.summary import Summary

USAGE, REJECTED = 2, 3
"""Exit statuses: the arguments are wrong; too much was rejected."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add SRC, DST and a flag for each setting."""
    for name, field in Settings.model_fields.items():
        note = "" if field.default in (None, {}) or field.is_required() else f" ({field.default})"
        text = f"{field.description}{note}".replace("%", "%%")
        if field.is_required():
            parser.add_argument(name, metavar=name.upper(), help=text)
        else:
            parser.add_argument(flag(name), metavar="VALUE", help=text)
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.set_defaults(run=_bulk)


def _bulk(options: argparse.Namespace) -> int:
    try:
        settings = Settings.load({name: getattr(options, name) for name in Settings.model_fields})
        summary = _run(settings)
    except UsageError as error:
        print(f"lensgate: {error}", file=sys.stderr)
        return USAGE
    print(summary.to_json() if options.json else "\n".join(summary.lines()))
    ratio, limit = summary.total.reject_ratio, settings.max_reject_ratio
    if ratio <= limit:
        return 0
    print(f"lensgate: {ratio:.4f} of the images were rejected: more than --max-reject-ratio {limit:g}", file=sys.stderr)
    return REJECTED


def _run(settings: Settings) -> Summary:
    source = open_source(settings.src, settings.storage_options, kind=settings.format)
    job = settings.job()
    check_job(source, job)
    progress = Progress(sys.stderr)
    try:
        with contextlib.closing(progress):
            return run(source, job, partial(_make_engine, settings), progress=progress)
    except KeyboardInterrupt:
        print("lensgate: stopped; the same command goes on from what is finished", file=sys.stderr)
        raise


def _make_engine(settings: Settings) -> Engine:
    if settings.engine == "local":
        return LocalEngine(settings.workers)
    # Its extra is needed by who asks for it alone.
    engine: Engine = importlib.import_module("bulk.ray_engine").RayEngine(
        address=settings.ray_address, actors=settings.ray_actors, threads=settings.workers
    )
    return engine
