"""Open loop: a separate process sends requests when they are due, regardless of earlier responses.

A slow response does not delay later requests, and latency counts from the due time. At most `connections` keep-alive
connections are open; a request waits if none is free, and that wait counts.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.connection import Exchange, ExchangeEnd
from bench.serving.posts import Post

EXPECT_BYTES = 1 << 20
"""Like curl: larger bodies are sent after 100 Continue."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`rate` requests a second for `seconds`, at the times of a Poisson process or evenly apart."""

    port: int
    rate: float
    seconds: float
    poisson: bool = True
    expect_continue: bool = True
    """Whether bodies over `EXPECT_BYTES` wait for 100 Continue."""
    connections: int = 512
    timeout: float = 15.0
    seed: int = 1


@dataclass(slots=True)
class LoadResult:
    """Results of the requests; `latencies` are milliseconds of the 200s, from the due time."""

    due: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    early: dict[str, int] = field(default_factory=dict)
    """Responses by status that came before the whole body was sent."""
    continue_timeouts: int = 0
    """Bodies sent without 100 Continue, after neither it nor a response came for a second."""
    no_retry_after: int = 0
    """429 without Retry-After."""
    failures: dict[str, int] = field(default_factory=dict)
    in_time: int = 0
    """200s received before the last request was due."""
    latencies: list[float] = field(default_factory=list)
    lag: float = 0.0
    """Longest delay between due and sent, in milliseconds."""
    wasted: int = 0
    """Bytes of bodies that were sent without a decision."""
    cpu: float = 0.0
    """Processor seconds of the generator."""

    @property
    def fault(self) -> str:
        """Answers other than 200, or 429 with Retry-After before the body was sent."""
        faults = {
            "other answers": {key: count for key, count in self.statuses.items() if key not in ("200", "429")},
            "failures": self.failures,
            "429 without Retry-After": self.no_retry_after,
            "429 after the body was sent": self.statuses.get("429", 0) - self.early.get("429", 0),
        }
        return "; ".join(f"{name}: {found}" for name, found in faults.items() if found)

    def count(self, exchange: Exchange, stop: float) -> None:
        """Add an ended exchange."""
        self.continue_timeouts += exchange.continue_timed_out
        if exchange.end is not ExchangeEnd.ANSWERED:
            _add(self.failures, str(exchange.end))
            return
        _add(self.statuses, str(exchange.status))
        if exchange.is_early:
            _add(self.early, str(exchange.status))
        if exchange.status == 200:
            self.latencies.append((exchange.ended - exchange.due) * 1e3)
            self.in_time += exchange.ended <= stop
            return
        self.wasted += exchange.sent
        self.no_retry_after += exchange.status == 429 and exchange.retry_after is None


def offer(plan: LoadPlan, posts: Sequence[Post]) -> LoadResult:
    """Run the plan in another process, sending `posts` in turn.

    Raises:
        RuntimeError: the generator failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bodies = []
        for number, post in enumerate(posts):
            body = Path(scratch) / str(number)
            body.write_bytes(post.body)
            bodies.append({"path": post.path, "headers": dict(post.headers), "body": str(body)})
        file = Path(scratch) / "plan.json"
        file.write_text(json.dumps({"plan": dataclasses.asdict(plan), "posts": bodies}))
        command = [sys.executable, "-m", "bench.serving.generator", str(file)]
        limit = plan.seconds + plan.timeout + 60
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if process.returncode:
        raise RuntimeError(f"the generator failed: {process.stderr.strip()}")
    return LoadResult(**json.loads(process.stdout))


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
