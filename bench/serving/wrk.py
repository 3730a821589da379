"""Closed loop: wrk keeps a number of connections busy, each with one request at a time."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving.posts import Post

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one run; latencies in milliseconds."""

    requests: int
    seconds: float
    median: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests/s answered 2xx."""
        return self.requests / self.seconds


def drive(port: int, posts: Sequence[Post], *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Send `posts` in turn to 127.0.0.1 for so many seconds, rounded up.

    Raises:
        RuntimeError: a request was lost or not answered 2xx, so the rate is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(posts))]
        for file, post in zip(files, posts, strict=True):
            file.write_bytes(post.head() + post.body)
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{_whole(seconds)}s"]
        command += ["--timeout", "30s", "--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--", *map(str, files)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    return _read(ran.stdout, ran.stderr)


def _read(output: str, complaint: str) -> Load:
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"wrk failed: {(complaint or output).strip()}")
    result = json.loads(line.removeprefix("RESULT "))
    if result["refused"] or result["lost"] or not result["requests"]:
        raise RuntimeError(f"of {result['requests']} requests {result['refused']} were refused, {result['lost']} lost")
    return Load(result["requests"], result["microseconds"] / 1e6, result["median_us"] / 1e3, result["p99_us"] / 1e3)


def _whole(seconds: float) -> int:
    return max(1, -int(-seconds // 1))
