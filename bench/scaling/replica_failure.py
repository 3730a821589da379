"""Count lost images when one of two real replicas ends under load, by SIGTERM or SIGKILL."""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scaling.nginx import proxying
from bench.serving.openloop import LoadPlan, offer
from bench.serving.posts import Post
from bench.serving.processes import Running

SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class SignalOutcome:
    """Number of images sent, and of images answered 200."""

    signal: str
    sent: int
    answered: int

    @property
    def agrees(self) -> bool:
        """Whether no image was lost; the simulation predicts none if nginx retries on the other replica."""
        return self.answered == self.sent

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        return [self.signal, f"{self.sent:,}", f"{self.sent - self.answered:,}"]


def signal_one(
    replicas: Sequence[Running], posts: Sequence[Post], number: signal.Signals, *, rate: float, seconds: float
) -> SignalOutcome:
    """Send `rate` images/s to the replicas, and a signal to the first one after half of the time."""
    with proxying([replica.port for replica in replicas]) as proxy:
        timer = threading.Timer(seconds / 2, os.kill, (replicas[0].pid, number))
        timer.start()
        try:
            result = offer(LoadPlan(proxy.port, rate, seconds), posts)
        finally:
            timer.cancel()
    return SignalOutcome(number.name, result.due, len(result.latencies))
