"""Connections that send the requests and count the answers of the service."""

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from bench.serving.posts import INFER, read_tensors
from bench.soak.requests import BATCH, DECISIONS, RequestKind, SoakRequest

ANSWER_SECONDS = 30.0
"""A slower answer counts as a fault of the service."""

IMAGE_ERRORS = frozenset(
    {"empty_image", "unsupported_image", "corrupt_image", "image_too_large", "image_too_small", "not_square"}
)


@dataclass
class ClientResults:
    """Results seen by the client.

    Attributes:
        kinds: requests by kind and status; 0 is an abandoned connection.
        statuses: answers to POSTs by path and status.
        decisions: decisions by decision and reason, over all routes.
        image_errors: images that could not be judged, by code.
        faults: descriptions of incorrect behaviour.
    """

    kinds: Counter[tuple[str, int]] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    decisions: Counter[tuple[str, ...]] = field(default_factory=Counter)
    image_errors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: "ClientResults") -> None:
        """Add the results of another connection."""
        self.kinds += other.kinds
        self.statuses += other.statuses
        self.decisions += other.decisions
        self.image_errors += other.image_errors
        self.faults += other.faults

    @property
    def answers(self) -> int:
        """Requests that were answered."""
        return sum(count for (_, status), count in self.kinds.items() if status)


def drive(port: int, kinds: Sequence[RequestKind], *, connections: int, seconds: float, seed: int) -> ClientResults:
    """Send requests on `connections` connections at a time for `seconds`, and return the results."""
    until = time.monotonic() + seconds
    seen_by_thread = [ClientResults() for _ in range(connections)]
    threads = [
        threading.Thread(target=_work, args=(port, kinds, random.Random(f"{seed} {number}"), until, seen), daemon=True)
        for number, seen in enumerate(seen_by_thread)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 2 * ANSWER_SECONDS)
    total = ClientResults()
    for seen in seen_by_thread:
        total.add(seen)
    stuck = sum(thread.is_alive() for thread in threads)
    if stuck:
        total.faults.append(f"{stuck} connections did not end")
    return total


def _work(port: int, kinds: Sequence[RequestKind], rng: random.Random, until: float, seen: ClientResults) -> None:
    weights = list(accumulate(kind.weight for kind in kinds))
    while time.monotonic() < until:
        request = rng.choices(kinds, cum_weights=weights)[0].make(rng)
        if request.sent_bytes is not None:
            _leave(port, request, request.sent_bytes)
            seen.kinds[request.kind, 0] += 1
            continue
        try:
            _exchange(port, request, seen)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            seen.faults.append(f"{request.kind}: {type(error).__name__}: {error}"[:200])


def _exchange(port: int, request: SoakRequest, seen: ClientResults) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        body = request.post.body if request.method == "POST" else None
        connection.request(request.method, request.post.path, body, dict(request.post.headers))
        answer = connection.getresponse()
        data = answer.read()
    path = request.post.path.partition("?")[0]
    seen.kinds[request.kind, answer.status] += 1
    if request.method == "POST":
        seen.statuses[path, answer.status] += 1
    if answer.status >= 500:
        seen.faults.append(f"{request.kind}: status {answer.status}: {data[:150]!r}")
    _count(path, answer.status, data, _header_length(answer), seen)


def _count(path: str, status: int, data: bytes, header_length: int | None, seen: ClientResults) -> None:
    if path == BATCH and status == 200:
        lines = [json.loads(line) for line in data.splitlines()]
        if not lines or "summary" not in lines[-1]:
            seen.faults.append("a batch ended without a summary")
        for line in lines:
            _count_line(line, seen)
    elif path == DECISIONS:
        _count_line(json.loads(data), seen)
    elif path == INFER and status == 200:
        outputs = read_tensors(data, header_length)
        for decision, reason in zip(outputs["decision"], outputs["reason"], strict=True):
            seen.decisions[_text(decision), _text(reason)] += 1
    elif path == INFER:
        _count_line(json.loads(data), seen)


def _count_line(line: Mapping[str, object], seen: ClientResults) -> None:
    """Count a decision, an error of a batch, or a problem document."""
    if "decision" in line:
        seen.decisions[str(line["decision"]), str(line["reason"])] += 1
        return
    error = line.get("error")
    code = error.get("code") if isinstance(error, dict) else line.get("code")
    if code in IMAGE_ERRORS:
        seen.image_errors[str(code)] += 1


def _header_length(answer: http.client.HTTPResponse) -> int | None:
    length = answer.getheader("Inference-Header-Content-Length")
    return int(length) if length else None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _leave(port: int, request: SoakRequest, length: int) -> None:
    """Send the head and a part of the body, then close the connection."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        connection.sendall(request.post.head() + request.post.body[:length])
