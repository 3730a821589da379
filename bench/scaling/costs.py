"""The arithmetic: what so many images a day take of cores, network, databases, Prometheus and money."""

import math
from dataclasses import dataclass

from bench.scaling.inputs import Inputs
from bench.scaling.measured import Bulk, Database, Route

DAY = 86_400.0
GIGABYTE = 1e9
_HOUR = 3_600.0
_MONTH_DAYS = 365 / 12
_RETENTION_DAYS = 15.0
"""Of Prometheus, by compose and unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class RouteCost:
    """One route to a replica, and the part of its images that is the model's, in ms of a core."""

    route: Route
    model_ms: float
    inputs: Inputs

    @property
    def replica_rate(self) -> float:
        """Images a second that a replica does at most: event loop and model have a thread each, whatever the cores."""
        return 1e3 / max(self.route.cpu_ms / self.inputs.replica_cores, self.route.loop_ms, self.model_ms)

    @property
    def gpu_rate(self) -> float:
        """Images a second from which on a GPU is worth its price that runs the model in no time at all."""
        return self.inputs.gpu_hour / self.inputs.core_hour * 1e3 / self.model_ms

    @property
    def gpu_cores(self) -> float:
        """Cores that feed such a GPU then."""
        return self.gpu_rate * max(0.0, self.route.cpu_ms - self.model_ms) / 1e3

    @property
    def gpu_inflow(self) -> float:
        """Gigabytes a second that reach it then."""
        return self.gpu_rate * self.route.request_bytes / GIGABYTE


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas that take so many `images` a day."""

    way: RouteCost
    images: float

    @property
    def peak(self) -> float:
        """Images a second in the busiest minutes."""
        return self.images / DAY * self.way.inputs.peak

    @property
    def replicas(self) -> int:
        """What the peak takes, and those to spare."""
        inputs = self.way.inputs
        return math.ceil(self.peak / (inputs.load * self.way.replica_rate)) + inputs.spare

    @property
    def cores(self) -> int:
        """Of all replicas."""
        return self.replicas * self.way.inputs.replica_cores

    @property
    def standing(self) -> float:
        """Dollars a day where all replicas stand there day and night."""
        return self.cores * DAY / _HOUR * self.way.inputs.core_hour

    @property
    def following(self) -> float:
        """Dollars a day where replicas come and go with the load, none to spare."""
        inputs = self.way.inputs
        seconds = self.images / (inputs.load * self.way.replica_rate)
        return seconds * inputs.replica_cores / _HOUR * inputs.core_hour

    @property
    def gigabytes(self) -> float:
        """A day, both ways."""
        return self.images * self.way.route.wire_bytes / GIGABYTE

    @property
    def moved(self) -> float:
        """Dollars a day where the callers are in another zone."""
        return self.gigabytes * self.way.inputs.egress

    @property
    def inflow(self) -> float:
        """Gigabytes a second in the busiest minutes, into balancers and on to replicas."""
        return self.peak * self.way.route.request_bytes / GIGABYTE

    @property
    def links(self) -> int:
        """Balancers whose network carries that."""
        return math.ceil(self.inflow / (self.way.inputs.load * self.way.inputs.link))

    @property
    def proxy_cores(self) -> float | None:
        """Cores that nginx keeps busy in the busiest minutes, where it was measured."""
        milliseconds = self.way.route.balancer_ms
        return None if milliseconds is None else self.peak * milliseconds / 1e3 / self.way.inputs.load


def a_day(rate: float, inputs: Inputs) -> float:
    """Images a day whose peak asks `inputs.load` of what does `rate` images a second at most."""
    return rate * inputs.load / inputs.peak * DAY


def bulk_cores(bulk: Bulk, images: float, inputs: Inputs) -> float:
    """Cores that do so many images a day around the clock."""
    return images * bulk.bulk_ms / 1e3 / inputs.bulk_load / DAY


def bulk_dollars(bulk: Bulk, images: float, inputs: Inputs) -> float:
    """What the cores for so many images are paid."""
    return images * bulk.bulk_ms / 1e3 / inputs.bulk_load / _HOUR * inputs.core_hour


def record_rate(database: Database, kept: int) -> float:
    """Decisions a second that one connection inserts, and of as many old ones deletes, where `kept` are kept."""
    # To delete some, all are counted.
    prune = database.prune_seconds + database.count_seconds * (kept / database.rows - 1)
    return 1 / (database.insert_ms / 1e3 + prune / database.prune_rows)


def stored(gigabytes: float, inputs: Inputs) -> float:
    """Dollars a day to keep so much."""
    return gigabytes * inputs.gigabyte / _MONTH_DAYS


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What Prometheus has of so many replicas with so many series each."""

    replicas: int
    series_each: float
    inputs: Inputs

    @property
    def series(self) -> float:
        """At a time."""
        return self.replicas * self.series_each

    @property
    def samples(self) -> float:
        """A second."""
        return self.series / self.inputs.scrape_seconds

    @property
    def gigabytes(self) -> float:
        """On disk, of what it keeps."""
        return self.samples * self.inputs.sample_bytes * _RETENTION_DAYS * DAY / GIGABYTE
