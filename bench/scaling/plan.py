"""Tables of costs for a number of images a day, from the measured figures."""

from collections.abc import Callable, Iterator

from bench.scaling import figures
from bench.scaling.costs import (
    DAY,
    GIGABYTE,
    Fleet,
    Monitoring,
    RouteCost,
    a_day,
    bulk_cores,
    bulk_dollars,
    record_rate,
    stored,
)
from bench.scaling.inputs import Inputs
from bench.scaling.measured import Database, Measured
from bench.scaling.tables import MarkdownTable, number, power
from service.settings import Settings

SCALES = (1e5, 1e7, 1e9)
"""Images a day."""

MACHINES = (2, 4, 8, 16, 32, 64)
"""Cores of one machine."""

_MILLION = 1e6
_DAYS = [f"{power(scale)} a day" for scale in SCALES]
_LAST = power(SCALES[-1])
_LIMITED = ("png", "jpeg", "batch")
_KEPT = Settings()


def tables(measured: Measured, inputs: Inputs) -> list[MarkdownTable]:
    """Return all tables in display order."""
    plan = _FleetPlan(measured, inputs)
    planned = [
        plan.machine(),
        plan.cores(),
        plan.network(),
        plan.records(),
        plan.series(),
        plan.money(),
        plan.gpu(),
        plan.limits(),
    ]
    return [*figures.tables(measured), *planned]


class _FleetPlan:
    """Inputs of all tables."""

    def __init__(self, measured: Measured, inputs: Inputs) -> None:
        self._measured = measured
        self._inputs = inputs
        self._ways = {name: RouteCost(route, measured.model_ms, inputs) for name, route in measured.routes.items()}

    def machine(self) -> MarkdownTable:
        rows = []
        for way in self._ways.values():
            rates = [(way.machine_rate(cores), cores * 1e3 / way.route.cpu_ms) for cores in MACHINES]
            rows.append([way.route.title, *(f"{number(rate, 2)} ({rate / linear:.0%})" for rate, linear in rates)])
        return MarkdownTable("plan-machine", ["images/s", *(f"{cores} cores" for cores in MACHINES)], rows)

    def cores(self) -> MarkdownTable:
        rows = self._by_way(lambda fleet: f"{fleet.replicas:,} ({fleet.cores:,})")
        for bulk in self._measured.bulk.values():
            rows.append([bulk.title, *(f"({number(bulk_cores(bulk, scale, self._inputs), 2)})" for scale in SCALES)])
        return MarkdownTable("plan-cores", ["replicas (cores)", *_DAYS], rows)

    def network(self) -> MarkdownTable:
        link = self._inputs.link
        head = ["path", "GB a million", *(f"GB/s at the peak, {power(scale)}" for scale in SCALES[1:])]
        head += [f"balancers, {_LAST}", f"nginx's cores, {_LAST}", f"cores that {link:g} GB/s keep busy"]
        return MarkdownTable("plan-network", head, [self._traffic(way) for way in self._ways.values()])

    def _traffic(self, way: RouteCost) -> list[str]:
        fleets = [Fleet(way, scale) for scale in SCALES[1:]]
        cells = [number(Fleet(way, _MILLION).gigabytes, 2), *(number(fleet.inflow, 2) for fleet in fleets)]
        proxies = fleets[-1].proxy_cores
        cells += [f"{fleets[-1].links:,}", "" if proxies is None else number(proxies, 2)]
        return [way.route.title, *cells, number(self._link_rate(way) * way.route.cpu_ms / 1e3, 2)]

    def records(self) -> MarkdownTable:
        inputs = self._inputs
        pictures = inputs.discarded + (1 - inputs.discarded) * _KEPT.audit_ratio
        most_bytes = _KEPT.records_max_image_bytes
        most_pictures = most_bytes / self._measured.picture_bytes / pictures
        databases = self._measured.databases.values()
        row_bytes = max(one.row_bytes for one in databases)
        whole = [scale * _KEPT.records_max_days * row_bytes / GIGABYTE for scale in SCALES]
        rows = [
            ["decisions a second, mean", *(number(scale / DAY, 2) for scale in SCALES)],
            [f"{_KEPT.records_max_rows:,} decisions are those of", *map(_span, self._days(_KEPT.records_max_rows))],
            [f"{most_bytes / 2**30:g} GiB of pictures are those of", *map(_span, self._days(most_pictures))],
            *(self._writer(one) for one in databases),
            [f"decisions of {_KEPT.records_max_days} days, GB", *(number(size, 2) for size in whole)],
            ["to keep these, dollars a day", *(_dollars(stored(size, inputs)) for size in whole)],
        ]
        return MarkdownTable("plan-records", ["", *_DAYS], rows)

    def _days(self, images: float) -> Iterator[float]:
        """Time until so many images have arrived."""
        return (images / scale for scale in SCALES)

    def _writer(self, database: Database) -> list[str]:
        rate = record_rate(database, _KEPT.records_max_rows)
        shares = (number(scale / DAY * self._inputs.peak / rate, 2) for scale in SCALES)
        return [f"{database.title}: share of a writer, at the peak", *shares]

    def series(self) -> MarkdownTable:
        rows = []
        for way in self._ways.values():
            loads = [Monitoring(Fleet(way, scale).replicas, self._measured.series, self._inputs) for scale in SCALES]
            cells = [*(f"{one.series:,.0f}" for one in loads), number(loads[-1].samples, 2)]
            rows.append([way.route.title, *cells, number(loads[-1].gigabytes, 2)])
        return MarkdownTable("plan-series", ["series", *_DAYS, f"samples/s, {_LAST}", f"GB on disk, {_LAST}"], rows)

    def money(self) -> MarkdownTable:
        rows = self._by_way(lambda fleet: _dollars(fleet.standing))
        for row, way in zip(rows, self._ways.values(), strict=True):
            million = Fleet(way, _MILLION)
            row += [_dollars(million.following), _dollars(million.moved)]
        for bulk in self._measured.bulk.values():
            paid = (_dollars(bulk_dollars(bulk, scale, self._inputs)) for scale in (*SCALES, _MILLION))
            rows.append([bulk.title, *paid, ""])
        return MarkdownTable(
            "plan-money", ["dollars", *_DAYS, "a million, cores used", "a million, to another zone"], rows
        )

    def gpu(self) -> MarkdownTable:
        rows = []
        for way in self._ways.values():
            share = min(1.0, way.model_ms / way.route.cpu_ms)
            cells = (number(value, 2) for value in (way.gpu_rate, way.gpu_cores, way.gpu_inflow))
            reached = Fleet(way, SCALES[-1]).peak / way.gpu_rate
            rows.append([way.route.title, f"{share:.0%}", *cells, f"{reached:.0%}"])
        head = ["path", "model's share", "images/s", "cores that feed it", "GB/s", f"of it at the peak, {_LAST}"]
        return MarkdownTable("plan-gpu", head, rows)

    def limits(self) -> MarkdownTable:
        series, most = self._measured.series, self._inputs.most_series
        limits: list[tuple[str, Callable[[RouteCost], float | None]]] = [
            ("a core", lambda way: 1e3 / way.route.cpu_ms),
            (f"a replica of {self._inputs.replica_cores} cores", lambda way: way.replica_rate),
            ("a core of nginx", lambda way: 1e3 / way.route.balancer_ms if way.route.balancer_ms else None),
            (f"a network of {self._inputs.link:g} GB/s", self._link_rate),
            (f"{most:,.0f} series", lambda way: most / series * way.replica_rate),
        ]
        rows = [[title, *(self._millions(rate(self._ways[name])) for name in _LIMITED)] for title, rate in limits]
        for database in self._measured.databases.values():
            rate = record_rate(database, _KEPT.records_max_rows)
            rows.append([f"a writer to {database.title}", *[self._millions(rate)] * len(_LIMITED)])
        titles = (self._ways[name].route.title for name in _LIMITED)
        return MarkdownTable("plan-limits", ["millions of images a day", *titles], rows)

    def _millions(self, rate: float | None) -> str:
        return "" if rate is None else number(a_day(rate, self._inputs) / _MILLION, 2)

    def _link_rate(self, way: RouteCost) -> float:
        """Images/s that a machine's network can receive."""
        return self._inputs.link * GIGABYTE / way.route.request_bytes

    def _by_way(self, cell: Callable[[Fleet], str]) -> list[list[str]]:
        """Return a row for each route and a column for each scale."""
        return [[way.route.title, *(cell(Fleet(way, scale)) for scale in SCALES)] for way in self._ways.values()]


def _span(days: float) -> str:
    """Return a duration in days, hours, minutes or seconds."""
    for seconds, unit in ((DAY, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if days * DAY >= 2 * seconds:
            return f"{number(days * DAY / seconds, 2)} {unit}"
    return f"{number(days * DAY, 2)} seconds"


def _dollars(value: float) -> str:
    return number(value, 2) if value < 100 else f"{value:,.0f}"
