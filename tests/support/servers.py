"""Real servers: one in a thread around a fake model, and one as the process that an operator starts."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from gate.pixels import Pixels, read_pixels
from gate.scorer import Scores
from service.inference.model_runner import LoadedModel
from service.runtime import Runtime, build_runtime
from service.server import Server
from service.settings import Settings
from tests.support.images import encode, flat
from tests.support.models import brightness_model

TIMEOUT = 300.0
"""Seconds of a wait that ends by itself; many times the usual duration, so that only a hang exceeds it."""


class FakeScorer:
    """A model whose probability is the mean brightness; tests can block it or make it fail."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.fault: Callable[[Pixels], BaseException | None] = lambda _: None

    def score(self, images: Pixels) -> Scores:
        """Score `[N, S, S, 3]` when `go` is set."""
        self.entered.set()
        assert self.go.wait(TIMEOUT)
        self.batches.append(len(images))
        if fault := self.fault(images):
            raise fault
        return Scores(images.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32) / np.float32(255), None)


@dataclass
class Running:
    """A server in a thread, and the objects behind it."""

    url: str
    scorer: FakeScorer
    runtime: Runtime
    client: httpx.Client = field(repr=False)
    server: Server = field(repr=False)
    thread: threading.Thread = field(repr=False)

    def stop(self) -> None:
        """Tell it to end, as a signal would."""
        self.server.handle_exit(signal.SIGTERM, None)

    def post(self, body: bytes, **query: str | int) -> httpx.Response:
        """POST one image."""
        return self.client.post("/v1/decisions", content=body, params=query)

    @property
    def inflight(self) -> int:
        """Images between admission and answer."""
        return self.runtime.admission.images

    @property
    def queued(self) -> int:
        """Images that wait for the model."""
        return self.runtime.runner.batcher.queued

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of /metrics."""
        return read_metric(self.client, name, **labels)


def read_metric(client: httpx.Client, name: str, **labels: str) -> float:
    """The value of the one sample with this name and, among others, these labels."""
    # Of two thousand lines those that begin like it: to parse the others takes as long as to ask for them.
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    families = text_string_to_metric_families("\n".join(lines))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    (found,) = (sample for sample in samples if labels.items() <= sample.labels.items())
    return float(found.value)


@contextmanager
def running_service(
    *, loaded: LoadedModel | None = None, shadow: LoadedModel | None = None, **settings: object
) -> Iterator[Running]:
    """Serve `loaded`, by default a fake model, on a free port; drained and gone when the block ends."""
    # No random audit sample: it would occasionally add an image to the count of a test.
    chosen = Settings(port=0, **{"records_url": "off", "audit_ratio": 0.0, **settings})
    scorer = FakeScorer()
    served = loaded or LoadedModel(brightness_model().card, scorer, "fake")
    runtime = build_runtime(chosen, served, shadow=shadow)
    server = Server(chosen, runtime)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    # A first decode loads and warms what later ones find; no test should measure that.
    read_pixels(encode(flat(0)), 32)
    try:
        with httpx.Client(base_url=server.url, timeout=TIMEOUT, trust_env=False) as client:
            yield Running(server.url, scorer, runtime, client, server, thread)
    finally:
        scorer.go.set()
        if not server.should_exit:
            server.handle_exit(signal.SIGTERM, None)
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Process:
    """Run `lensgate serve` as a separate process."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def running_process(log: Path, environment: Mapping[str, str], *flags: str) -> Iterator[Process]:
    """Start `lensgate serve` on a free port and wait until it is ready; killed if it has not left by itself."""
    command = [sys.executable, "-m", "lensgate", "serve", "--port", "0", *flags]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stderr=sink, env={"LENSGATE_RECORDS_URL": "off", **environment})
    try:
        wait_until(lambda: process.poll() is not None or "running on" in log.read_text())
        match = re.search(r"running on (https?://\S+)", log.read_text())
        assert match, log.read_text()
        yield Process(match[1], process, log)
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def reload_order(log: Path) -> list[tuple[str, int]]:
    """Return starts and ends of reloads with their workers, by time: each worker writes its lines a moment later."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    steps = ("reloading model", "model loaded")
    found = [
        (line["time"], line["worker"], step) for line in lines for step in steps if line["message"].startswith(step)
    ]
    return [(step, worker) for _, worker, step in sorted(found, key=lambda one: one[:2])]


def wait_until(true: Callable[[], object], *, timeout: float = TIMEOUT) -> None:
    """Wait until the condition is true; fail after a timeout."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
