"""The metrics of a service: those of this process, or the sum over all workers."""

from dataclasses import replace
from typing import Protocol

from prometheus_client import Counter
from prometheus_client.samples import Sample

from service.metrics.decisions import Metrics
from service.metrics.merging import make_gauge
from service.metrics.reading import Reading
from service.process.frames import Collected


class Workers(Protocol):
    """The other workers, by way of the parent process."""

    earlier: bytes

    async def collect(self, own: bytes, *, ask: bool) -> Collected | None:
        """Pass on this worker's reading and return those of the others; None if the parent does not answer."""
        ...


class Gathering:
    """Reads the metrics of all workers. Use from the event loop only.

    Counters never decrease: a worker begins with the counts of its predecessor, and a worker that does not answer
    counts with its last reading.

    Args:
        metrics: of this process.
        number: of this worker.
        workers: the others; None for a service of one process.
    """

    def __init__(self, metrics: Metrics, *, number: int = 1, workers: Workers | None) -> None:
        self._metrics = metrics
        self._workers = workers
        self._number = number
        self._earlier = Reading.decode(workers.earlier) if workers and workers.earlier else None
        self._latest = Collected(0, ())
        self._up = make_gauge(
            "worker_up", "1 where the worker reported its metrics", ["worker"], merge="asked", registry=metrics.registry
        )
        self._up.labels(str(number)).set(1)
        self._restarts = Counter("lensgate_worker_restarts", "Workers started again", registry=metrics.registry)

    def own(self) -> Reading:
        """Read this worker, with the counts of those that had its number before."""
        reading = self._metrics.read()
        if self._earlier is not None:
            self._earlier.drop_restarted(reading)
            reading.add(self._earlier, is_alive=False)
        return reading

    async def all(self, *, ask: bool) -> Reading:
        """Add the metrics of all workers.

        Args:
            ask: ask each of them now, instead of taking what it sent in the last half second.
        """
        reading = self.own()
        if self._workers is None:
            return reading
        # What is shown has been sent before, so that it survives this process.
        collected = await self._workers.collect(reading.encode(), ask=ask)
        self._latest = collected or _unanswered(self._latest)
        up = {self._number: True}
        for worker in self._latest.workers:
            up[worker.number] = worker.is_alive and worker.has_answered
            if worker.data:
                reading.add(Reading.decode(worker.data), is_alive=worker.is_alive)
        for name, value in reading.window.gauges().items():
            reading.replace(name, Sample(name, {}, value))
        name = "lensgate_worker_restarts"
        reading.replace(name, Sample(f"{name}_total", {}, self._latest.restarts))
        name = "lensgate_worker_up"
        reading.replace(name, *(Sample(name, {"worker": str(number)}, up[number]) for number in sorted(up)))
        return reading


def _unanswered(collected: Collected) -> Collected:
    workers = [replace(worker, is_alive=False, has_answered=False) for worker in collected.workers]
    return Collected(collected.restarts, workers)
