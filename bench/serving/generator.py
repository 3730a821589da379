"""The process of the open loop: runs a plan in one thread, with minimal work per request.

python -m bench.serving.generator PLAN    # the JSON file that bench.serving.openloop writes; prints a `LoadResult`
"""

import dataclasses
import gc
import json
import random
import select
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from bench.serving.connection import Exchange, ExchangeEnd, NonBlockingConnection
from bench.serving.openloop import EXPECT_BYTES, LoadPlan, LoadResult
from bench.serving.posts import Post

MAX_REQUESTS = 200_000
_SWEEP_SECONDS = 0.05
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


def arrivals(plan: LoadPlan) -> Iterator[float]:
    """Return the due times of requests in seconds from the start, in order; at most `MAX_REQUESTS`."""
    if not plan.poisson:
        count = round(plan.rate * plan.seconds)
        yield from ((number + 0.5) / plan.rate for number in range(min(count, MAX_REQUESTS)))
        return
    rng = random.Random(plan.seed)
    due = 0.0
    for _ in range(MAX_REQUESTS):
        due += rng.expovariate(plan.rate)
        if due > plan.seconds:
            return
        yield due


class Generator:
    """Runs one plan."""

    def __init__(self, plan: LoadPlan, posts: Sequence[Post]) -> None:
        self._plan = plan
        self._posts = cycle([_prepare(post, expect_continue=plan.expect_continue) for post in posts])
        self._epoll = select.epoll()
        self._connections: dict[int, NonBlockingConnection] = {}
        self._free: list[NonBlockingConnection] = []
        self._busy = 0
        self._waiting: deque[Exchange] = deque()
        self._stop = 0.0
        self._result = LoadResult(seconds=plan.seconds)

    def run(self) -> LoadResult:
        """Run until every request has ended."""
        due = self._schedule()
        sweep = 0.0
        while due or self._waiting or self._busy:
            now = time.perf_counter()
            while due and due[0].due <= now:
                self._take(due.popleft(), now)
            self._poll(min(due[0].due if due else sweep, sweep) - time.perf_counter())
            # After reading, so that no exchange with a received response is given up.
            if (now := time.perf_counter()) >= sweep:
                sweep = now + _SWEEP_SECONDS
                self._check(now)
        self._result.cpu = time.process_time()
        return self._result

    def _schedule(self) -> deque[Exchange]:
        start = time.perf_counter() + 0.1
        self._stop = start + self._plan.seconds
        due = deque(Exchange(start + offset, *next(self._posts)) for offset in arrivals(self._plan))
        self._result.due = len(due)
        return due

    def _take(self, exchange: Exchange, now: float) -> None:
        if connection := self._free_connection():
            self._begin(connection, exchange, now)
        else:
            self._waiting.append(exchange)

    def _free_connection(self) -> NonBlockingConnection | None:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        if len(self._connections) >= self._plan.connections:
            return None
        connection = NonBlockingConnection(self._plan.port)
        self._connections[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), _EVENTS)
        return connection

    def _begin(self, connection: NonBlockingConnection, exchange: Exchange, now: float) -> None:
        self._result.lag = max(self._result.lag, (now - exchange.due) * 1e3)
        self._busy += 1
        connection.begin(exchange, now)

    def _poll(self, wait: float) -> None:
        # Only select, not epoll, has a resolution below a millisecond.
        select.select([self._epoll], [], [], max(0.0, wait))
        for descriptor, _ in self._epoll.poll(0):
            connection = self._connections[descriptor]
            now = time.perf_counter()
            self._settle(descriptor, connection, connection.handle(now), now)

    def _check(self, now: float) -> None:
        for descriptor, connection in list(self._connections.items()):
            self._settle(descriptor, connection, connection.check(now, self._plan.timeout), now)
        while self._waiting and now - self._waiting[0].due > self._plan.timeout:
            exchange = self._waiting.popleft()
            exchange.finish(ExchangeEnd.UNSENT, now)
            self._result.count(exchange, self._stop)

    def _settle(
        self, descriptor: int, connection: NonBlockingConnection, finished: Exchange | None, now: float
    ) -> None:
        if not connection.is_open:
            del self._connections[descriptor]  # The kernel removed it from the epoll set on close.
        if finished is None:
            return
        self._busy -= 1
        self._result.count(finished, self._stop)
        if connection.is_open:
            self._free.append(connection)
        if self._waiting and (following := self._free_connection()):
            self._begin(following, self._waiting.popleft(), now)


def _prepare(post: Post, *, expect_continue: bool) -> tuple[bytes, memoryview, bool]:
    waits = expect_continue and len(post.body) > EXPECT_BYTES
    return post.head(expect=waits), memoryview(post.body), waits


def main(file: Path) -> int:
    """Print the result of the plan in `file`; return the exit status."""
    given = json.loads(file.read_text())
    posts = [Post(post["path"], Path(post["body"]).read_bytes(), post["headers"]) for post in given["posts"]]
    gc.disable()  # Garbage collection pauses would count as the server's; memory here is bounded.
    result = Generator(LoadPlan(**given["plan"]), posts).run()
    print(json.dumps(dataclasses.asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
