"""Cost arithmetic: cores, network, databases, Prometheus and money for a number of images a day."""

import math
from dataclasses import dataclass

from bench.scaling.inputs import Inputs
from bench.scaling.measured import Bulk, Database, Route
from service.settings import Settings
from service.workers import Machine, count_workers

DAY = 86_400.0
GIGABYTE = 1e9
_HOUR = 3_600.0
_MONTH_DAYS = 365 / 12
_RETENTION_DAYS = 15.0
"""Retention of Prometheus in docker-compose.yml."""


@dataclass(frozen=True, slots=True)
class RouteCost:
    """One route to a replica, and the model's share of its core milliseconds per image."""

    route: Route
    model_ms: float
    inputs: Inputs

    def machine_rate(self, cores: int) -> float:
        """Maximum images/s of a machine: all cores share the work, but each worker has one event loop."""
        workers = count_workers(Settings(), Machine(cores, math.inf))
        return 1e3 / max(self.route.cpu_ms / cores, self.route.loop_ms / workers)

    @property
    def replica_rate(self) -> float:
        """Maximum images/s of a replica."""
        return self.machine_rate(self.inputs.replica_cores)

    @property
    def gpu_rate(self) -> float:
        """Images/s above which a GPU pays off, assuming that it runs the model in zero time."""
        return self.inputs.gpu_hour / self.inputs.core_hour * 1e3 / self.model_ms

    @property
    def gpu_cores(self) -> float:
        """Cores that feed such a GPU at that rate."""
        return self.gpu_rate * max(0.0, self.route.cpu_ms - self.model_ms) / 1e3

    @property
    def gpu_inflow(self) -> float:
        """Gigabytes/s that reach it at that rate."""
        return self.gpu_rate * self.route.request_bytes / GIGABYTE


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet for `images` a day."""

    way: RouteCost
    images: float

    @property
    def peak(self) -> float:
        """Images/s in the busiest minutes."""
        return self.images / DAY * self.way.inputs.peak

    @property
    def replicas(self) -> int:
        """Replicas for the peak, plus the spare ones."""
        inputs = self.way.inputs
        return math.ceil(self.peak / (inputs.load * self.way.replica_rate)) + inputs.spare

    @property
    def cores(self) -> int:
        """Cores of all replicas."""
        return self.replicas * self.way.inputs.replica_cores

    @property
    def standing(self) -> float:
        """Dollars a day with all replicas running day and night."""
        return self.cores * DAY / _HOUR * self.way.inputs.core_hour

    @property
    def following(self) -> float:
        """Dollars a day with perfect autoscaling and no spare replicas."""
        inputs = self.way.inputs
        seconds = self.images / (inputs.load * self.way.replica_rate)
        return seconds * inputs.replica_cores / _HOUR * inputs.core_hour

    @property
    def gigabytes(self) -> float:
        """Gigabytes a day, in both directions."""
        return self.images * self.way.route.wire_bytes / GIGABYTE

    @property
    def moved(self) -> float:
        """Dollars a day if the callers are in another zone."""
        return self.gigabytes * self.way.inputs.egress

    @property
    def inflow(self) -> float:
        """Gigabytes/s in the busiest minutes, into balancers and on to replicas."""
        return self.peak * self.way.route.request_bytes / GIGABYTE

    @property
    def links(self) -> int:
        """Number of balancers with enough network for that."""
        return math.ceil(self.inflow / (self.way.inputs.load * self.way.inputs.link))

    @property
    def proxy_cores(self) -> float | None:
        """Cores that nginx keeps busy in the busiest minutes, if measured."""
        milliseconds = self.way.route.balancer_ms
        return None if milliseconds is None else self.peak * milliseconds / 1e3 / self.way.inputs.load


def a_day(rate: float, inputs: Inputs) -> float:
    """Images a day whose peak uses the share `inputs.load` of a capacity of `rate` images/s."""
    return rate * inputs.load / inputs.peak * DAY


def bulk_cores(bulk: Bulk, images: float, inputs: Inputs) -> float:
    """Cores that classify so many images a day around the clock."""
    return images * bulk.bulk_ms / 1e3 / inputs.bulk_load / DAY


def bulk_dollars(bulk: Bulk, images: float, inputs: Inputs) -> float:
    """Dollars for the cores of so many images."""
    return images * bulk.bulk_ms / 1e3 / inputs.bulk_load / _HOUR * inputs.core_hour


def record_rate(database: Database, kept: int) -> float:
    """Decisions/s that one connection inserts while it deletes as many old ones, with `kept` in the table."""
    # Deleting first counts all rows.
    prune = database.prune_seconds + database.count_seconds * (kept / database.rows - 1)
    return 1 / (database.insert_ms / 1e3 + prune / database.prune_rows)


def stored(gigabytes: float, inputs: Inputs) -> float:
    """Dollars a day of storage."""
    return gigabytes * inputs.gigabyte / _MONTH_DAYS


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Load on Prometheus of so many replicas with so many series each."""

    replicas: int
    series_each: float
    inputs: Inputs

    @property
    def series(self) -> float:
        """Active series."""
        return self.replicas * self.series_each

    @property
    def samples(self) -> float:
        """Samples/s."""
        return self.series / self.inputs.scrape_seconds

    @property
    def gigabytes(self) -> float:
        """Gigabytes on disk within the retention."""
        return self.samples * self.inputs.sample_bytes * _RETENTION_DAYS * DAY / GIGABYTE
