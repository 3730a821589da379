"""The measured figures as tables."""

from collections.abc import Iterator
from statistics import fmean

from bench.scaling.measured import Database, Measured, Route
from bench.scaling.tables import MarkdownTable, number
from service.records.postgres import SILENT_SECONDS

_HEAD = ("path", "ms of a core", "decoding", "event loop", "bytes sent", "answered", "ms of nginx")


def tables(measured: Measured) -> list[MarkdownTable]:
    """Return two tables: figures per image for each path, and the other figures."""
    routes = [_route(route) for route in measured.routes.values()]
    bulk = [[one.title, number(one.bulk_ms), *[""] * (len(_HEAD) - 2)] for one in measured.bulk.values()]
    others = [
        ("the model, an image of 32 in a run", _core(measured.model_ms)),
        ("SHA-256 of a PNG file", _core(measured.hash_ms)),
        ("1024 x 1024 pixels shrunk by the caller, NumPy", _core(measured.shrink_ms)),
        ("picture kept of a discarded image", f"{number(measured.picture_bytes)} bytes"),
        ("series of a replica", f"{measured.series:,}"),
        *(row for one in measured.databases.values() for row in _database(one)),
        *_most(measured),
    ]
    return [
        MarkdownTable("measured-paths", _HEAD, [*routes, *bulk]),
        MarkdownTable("measured-others", ("figure", ""), others),
    ]


def _route(route: Route) -> list[str]:
    return [
        route.title,
        number(route.cpu_ms),
        number(fmean(route.decode_ms), 2),
        number(route.loop_ms, 2),
        number(route.request_bytes),
        number(route.answer_bytes),
        "" if route.balancer_ms is None else number(route.balancer_ms, 2),
    ]


def _database(database: Database) -> Iterator[tuple[str, str]]:
    yield f"{database.title}: size of a decision, of {database.rows:,}", f"{number(database.row_bytes)} bytes"
    yield f"{database.title}: one inserted, of 5,000", f"{number(database.insert_ms)} ms"
    yield f"{database.title}: all counted", f"{number(database.count_seconds)} s"
    yield (
        f"{database.title}: {database.prune_rows:,} deleted, all counted before",
        f"{number(database.prune_seconds)} s",
    )


def _most(measured: Measured) -> Iterator[tuple[str, str]]:
    """Number of decisions that can be counted before the statement times out; SQLite has no such limit."""
    if one := measured.databases.get("postgres"):
        counted = one.rows * SILENT_SECONDS / one.count_seconds
        yield f"{one.title}: counted in {SILENT_SECONDS:g} s", f"{number(counted / 1e6, 2)} million"


def _core(milliseconds: float) -> str:
    return f"{number(milliseconds)} ms of a core"
