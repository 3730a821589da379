"""Measure the inputs of the cost model and of the simulation, print them and write them to a file.

    python -m bench.scaling.measure_command --images ../shared/faces/originals

The command measures processor time, so a busy machine matters little; only databases are timed by the wall clock.
Figures of nginx or PostgreSQL are omitted if they are not installed. Filling two databases takes most of the minutes.
"""

import argparse
import datetime
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.scaling import databases, figures, measured, nginx
from bench.scaling.bulk import bulk_ms
from bench.scaling.inprocess import StepTimer, large_images, picture_bytes
from bench.scaling.measured import Bulk, Database, Measured, Route
from bench.scaling.routes import LARGE_IMAGES, MeasuredRoute, kinds
from bench.scaling.saturation import cost, series
from bench.serving.contenders import PICTURES, ROOT, lensgate
from bench.serving.machine import describe
from bench.serving.posts import as_jpeg, read_pictures
from bench.serving.processes import Running
from bench.serving.wrk import drive
from gate import Card, ModelStore

_WARM_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = _parser().parse_args(arguments)
    result = _measure(options)
    for line in result.machine:
        print(line)
    for table in figures.tables(result):
        print(f"\n{table}")
    for name, how in result.how.items():
        print(f"{name}: {how}")
    measured.save(result, options.out)
    print(f"written: {options.out}")
    return 0


def _measure(options: argparse.Namespace) -> Measured:
    pictures = read_pictures(options.images)
    model = ModelStore(ROOT / "models").load()
    _say("one thread")
    bare = StepTimer(model, rounds=options.rounds)
    ways = kinds(pictures, bare)
    routes, count = _serve(pictures[0], ways, options)
    return Measured(
        taken=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=tuple(describe()),
        pictures=f"{len(pictures)} PNG files of {statistics.fmean(map(len, pictures)) / 1e6:.2f} MB",
        how=measured.explanations(),
        routes=routes,
        bulk=_bulk({"png": pictures, "jpeg": as_jpeg(pictures)}, options),
        model_ms=bare.model_ms(pictures),
        hash_ms=bare.hash_ms(pictures),
        shrink_ms=statistics.median(bare.shrink_ms(large_images(LARGE_IMAGES))),
        picture_bytes=picture_bytes(pictures),
        series=count,
        databases=_databases(model.card, options.rows),
    )


def _serve(
    picture: bytes, ways: Mapping[str, MeasuredRoute], options: argparse.Namespace
) -> tuple[dict[str, Route], int]:
    """Measure every route of one service, directly and through nginx, then count its series."""
    with ExitStack() as stack:
        service = stack.enter_context(lensgate().running(picture))
        proxy = stack.enter_context(nginx.proxying([service.port])) if nginx.program() else None
        routes = {}
        for name, way in ways.items():
            _say(way.title)
            routes[name] = _route(service, way, proxy=proxy, options=options)
        return routes, series(service.port)


def _route(service: Running, way: MeasuredRoute, *, proxy: Running | None, options: argparse.Namespace) -> Route:
    traffic = way.traffic
    drive(service.port, traffic.posts, seconds=min(_WARM_SECONDS, options.seconds), connections=traffic.connections)
    straight = [cost(service, traffic, seconds=options.seconds) for _ in range(options.rounds)]
    rounds = range(options.rounds if proxy else 0)
    between = [cost(service, traffic, seconds=options.seconds, proxy=proxy).proxy for _ in rounds]
    return Route(
        title=way.title,
        images_per_request=traffic.images,
        cpu_ms=statistics.median(one.service for one in straight),
        loop_ms=statistics.median(one.loop for one in straight),
        decode_ms=way.decode_ms,
        request_bytes=traffic.request_bytes,
        answer_bytes=traffic.answer_bytes(service.port),
        balancer_ms=statistics.median(between) if between else None,
    )


def _bulk(pictures: Mapping[str, Sequence[bytes]], options: argparse.Namespace) -> dict[str, Bulk]:
    costs = {}
    for name, files in pictures.items():
        _say(f"bulk, {name}")
        rounds = [bulk_ms(files, repeat=options.repeat) for _ in range(options.rounds)]
        costs[name] = Bulk(title=f"bulk, {name.upper()} file", bulk_ms=statistics.median(rounds))
    return costs


def _databases(card: Card, rows: int) -> dict[str, Database]:
    speeds = {}
    for name, measure in (("sqlite", databases.sqlite), ("postgres", databases.postgres)):
        _say(f"{name}, {rows:,} decisions")
        if database := measure(card, rows=rows):
            speeds[name] = database
    return speeds


def _say(text: str) -> None:
    print(f"measuring {text}", file=sys.stderr, flush=True)


def _count(text: str, *, least: int = 1) -> int:
    if (count := int(text)) < least:
        raise argparse.ArgumentTypeError(f"{text} is less than {least}")
    return count


def _rows(text: str) -> int:
    return _count(text, least=databases.MIN_ROWS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling.measure_command", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds per turn (4)")
    parser.add_argument("--rounds", type=_count, default=3, help="turns of each route (3)")
    parser.add_argument("--repeat", type=_count, default=10, help="repetitions of each image in a bulk run (10)")
    parser.add_argument(
        "--rows", type=_rows, default=1_000_000, help="decisions inserted into each database (1,000,000)"
    )
    parser.add_argument("--out", type=Path, default=measured.FILE, help="JSON file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
