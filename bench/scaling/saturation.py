"""Cost of an image at full load in the service and in nginx: processor time and bytes on the wire."""

import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics import read_samples, total
from bench.scaling.processor import seconds_of, seconds_of_thread
from bench.serving.posts import Post
from bench.serving.processes import Running
from bench.serving.response_parser import ResponseParser
from bench.serving.wrk import drive

_SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of `images` images each, sent in turn over `connections` connections."""

    posts: Sequence[Post]
    images: int = 1
    connections: int = 16

    @property
    def request_bytes(self) -> float:
        """Bytes per image."""
        return statistics.fmean(len(post.head()) + len(post.body) for post in self.posts) / self.images

    def answer_bytes(self, port: int) -> float:
        """Bytes per image."""
        return statistics.fmean(_answer_bytes(port, post) for post in self.posts) / self.images


@dataclass(frozen=True, slots=True)
class Cost:
    """Core milliseconds per image: in the service, in its event loop (included), and in nginx."""

    service: float
    loop: float
    proxy: float


def cost(service: Running, traffic: Traffic, *, seconds: float, proxy: Running | None = None) -> Cost:
    """Keep the service busy for `seconds`, through `proxy` if given.

    Hashing and recording after the responses are included.
    """
    early, images = _spent(service, proxy), decisions(service.port)
    drive((proxy or service).port, traffic.posts, seconds=seconds, connections=traffic.connections)
    settle(service.port)
    images = decisions(service.port) - images
    spent = [(after - before) / images * 1e3 for before, after in zip(early, _spent(service, proxy), strict=True)]
    return Cost(*spent)


def _spent(service: Running, proxy: Running | None) -> tuple[float, float, float]:
    # The main thread, whose id is the process id, runs the event loop.
    return seconds_of(service.pid), seconds_of_thread(service.pid), seconds_of(proxy.pid) if proxy else 0.0


def decisions(port: int) -> float:
    """Return the number of decisions of the service at `port`."""
    return total(read_samples(port), "lensgate_decisions_total")


def series(port: int) -> int:
    """Return the number of samples in a scrape of the service."""
    return len(read_samples(port))


def settle(port: int) -> None:
    """Wait until all decisions of the service are recorded.

    Raises:
        RuntimeError: the wait is too long.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while total(read_samples(port), "lensgate_queued_records"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"decisions are not recorded within {_SETTLE_SECONDS:g} s")
        time.sleep(0.05)


def _answer_bytes(port: int, post: Post) -> int:
    parser, received = ResponseParser(), 0
    with socket.create_connection(("127.0.0.1", port), 30.0) as connection:
        connection.sendall(post.head() + post.body)
        while data := connection.recv(1 << 16):
            received += len(data)
            if parser.feed(data):
                return received
    raise ConnectionError("the service closed the connection before it had answered")
