import asyncio

from prometheus_client import CollectorRegistry

from service.metrics.decisions import Metrics
from service.metrics.gathering import Gathering
from service.process.frames import Collected, WorkerReading


class FakeWorkers:
    """One other worker, and a parent that answers while `collected` is set."""

    def __init__(self, earlier: bytes = b"") -> None:
        self.earlier = earlier
        self.collected: Collected | None = None
        self.sent: list[bytes] = []

    async def collect(self, own: bytes, *, ask: bool) -> Collected | None:
        assert ask
        self.sent.append(own)
        return self.collected


def counted(errors: int) -> Metrics:
    metrics = Metrics(CollectorRegistry())
    for _ in range(errors):
        metrics.observe_image_error("not_square")
    return metrics


def errors(gathering: Gathering) -> float:
    return asyncio.run(gathering.all(ask=True)).total("lensgate_image_errors")


def answer(metrics: Metrics) -> Collected:
    return Collected(3, [WorkerReading(number=2, is_alive=True, has_answered=True, data=metrics.read().encode())])


def test_a_silent_parent_does_not_make_counters_decrease() -> None:
    workers = FakeWorkers()
    gathering = Gathering(counted(1), workers=workers)
    workers.collected = answer(counted(5))
    assert errors(gathering) == 6
    workers.collected = None
    reading = asyncio.run(gathering.all(ask=True))
    assert reading.total("lensgate_image_errors") == 6
    assert reading.total("lensgate_worker_restarts") == 3
    assert (reading.total("lensgate_worker_up", worker="1"), reading.total("lensgate_worker_up", worker="2")) == (1, 0)


def test_a_worker_begins_with_the_counts_of_its_predecessor_and_passes_them_on() -> None:
    workers = FakeWorkers(earlier=counted(4).read().encode())
    workers.collected = Collected(1, [])
    gathering = Gathering(counted(1), workers=workers)
    assert errors(gathering) == 5
    successor = FakeWorkers(earlier=workers.sent[-1])
    successor.collected = Collected(2, [])
    assert errors(Gathering(counted(2), workers=successor)) == 7
