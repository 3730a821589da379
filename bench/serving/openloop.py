"""Open loop: requests leave when they are due, whatever became of those before, from a process of its own.

A slow answer delays no later request, and latency counts from when a request was due. At most `connections` are open,
all of them kept alive; a request that finds none free waits, and that wait counts as well.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.channel import Exchange, ExchangeEnd
from bench.serving.posts import Post

EXPECT_BYTES = 1 << 20
"""As curl: larger bodies are sent when the server has said 100 Continue."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`rate` requests a second for `seconds`, at the times of a Poisson process or evenly apart."""

    port: int
    rate: float
    seconds: float
    poisson: bool = True
    expects: bool = True
    """Whether bodies over `EXPECT_BYTES` wait for 100 Continue."""
    connections: int = 512
    timeout: float = 15.0
    seed: int = 1


@dataclass(slots=True)
class LoadResult:
    """What became of the requests; `latencies` are those of the 200s in milliseconds from when they were due."""

    due: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    early: dict[str, int] = field(default_factory=dict)
    """Answers by status that came before the whole body was sent."""
    impatient: int = 0
    """Bodies that were sent without 100 Continue, because neither it nor an answer came for a second."""
    no_retry_after: int = 0
    """429 without Retry-After."""
    failures: dict[str, int] = field(default_factory=dict)
    in_time: int = 0
    """200s that came while requests were still falling due."""
    latencies: list[float] = field(default_factory=list)
    lag: float = 0.0
    """The longest a request left after it was due, in milliseconds."""
    wasted: int = 0
    """Bytes of bodies that were sent and not judged."""
    cpu: float = 0.0
    """Seconds of processor time the generator took."""

    def count(self, exchange: Exchange, stop: float) -> None:
        """Take in one exchange that has ended."""
        self.impatient += exchange.impatient
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
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if ran.returncode:
        raise RuntimeError(f"the generator failed: {ran.stderr.strip()}")
    return LoadResult(**json.loads(ran.stdout))


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
