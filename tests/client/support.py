"""A common blocking interface to both client classes, scripted gates, and a service on a fixed port."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from lensgate_client import AsyncGate, Decision, Gate, Label, Model, Outcome

from service.inference.model_runner import LoadedModel
from service.runtime import build_runtime
from service.server import Server
from service.settings import Settings
from tests.support.images import flat
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT, FakeScorer, wait_until

URL = "http://gate.test"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Avoids loading the certificates of this machine, which takes longer than most tests."""


class Clock:
    """Time that advances in `sleep` only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


OnSleep = Callable[[float], object]


class Sync:
    """Calls a `Gate`."""

    def __init__(self, url: str, *, on_sleep: OnSleep | None = None, **options: Any) -> None:
        self.gate = Gate(url, sleep=on_sleep, **options)

    def decide(self, image: Any, expected: Label | None = None, **options: Any) -> Decision:
        return self.gate.decide(image, expected, **options)

    def decide_many(self, images: Any, expected: Label | None = None, **options: Any) -> list[Outcome]:
        return self.gate.decide_many(images, expected, **options)

    def stream(self, images: Iterable[Any], expected: Label | None = None, **options: Any) -> Iterator[Outcome]:
        return self.gate.decide_stream(images, expected, **options)

    def model(self) -> Model:
        return self.gate.model()

    def check_ready(self) -> None:
        self.gate.check_ready()

    def close_gate(self) -> None:
        self.gate.close()

    def close(self) -> None:
        self.close_gate()


class Async:
    """Calls an `AsyncGate` on its own event loop."""

    def __init__(self, url: str, *, on_sleep: OnSleep | None = None, **options: Any) -> None:
        self._runner = asyncio.Runner()
        if on_sleep is not None:
            options["sleep"] = _awaitable(on_sleep)
        self.gate = AsyncGate(url, **options)

    def decide(self, image: Any, expected: Label | None = None, **options: Any) -> Decision:
        return self._runner.run(self.gate.decide(image, expected, **options))

    def decide_many(self, images: Any, expected: Label | None = None, **options: Any) -> list[Outcome]:
        return self._runner.run(self.gate.decide_many(images, expected, **options))

    def stream(self, images: Iterable[Any], expected: Label | None = None, **options: Any) -> Iterator[Outcome]:
        stream = self.gate.decide_stream(images, expected, **options)
        try:
            while True:
                try:
                    yield self._runner.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(stream.aclose())

    def model(self) -> Model:
        return self._runner.run(self.gate.model())

    def check_ready(self) -> None:
        self._runner.run(self.gate.check_ready())

    def close_gate(self) -> None:
        self._runner.run(self.gate.close())

    def close(self) -> None:
        self.close_gate()
        self._runner.close()


Either = Sync | Async
Make = Callable[..., Either]


def _awaitable(on_sleep: OnSleep) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        await asyncio.to_thread(on_sleep, seconds)

    return sleep


async def _next(stream: AsyncIterator[Outcome]) -> Outcome:
    return await anext(stream)


@dataclass
class ResponseSequence:
    """Responses in order, the last one repeated forever; an exception is raised."""

    answers: list[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]]
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """Return an error response of the gate."""
    body = {"status": status, "code": code, "detail": f"it is {code}", "request_id": "r1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status, headers={"Content-Type": "application/problem+json", **named}, content=json.dumps(body)
    )


def accepted(request: httpx.Request) -> httpx.Response:
    """Return a decision about a file under its id, with the expected label."""
    return httpx.Response(200, json=decision(request.url.params["id"], request.url.params.get("expected")))


def decision(name: str, expected: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the body of a confident decision about a file with the expected label, updated with `changes`."""
    body = {
        "id": name,
        "glasses_probability": probability_of(expected),
        "label": expected or "glasses",
        "decision": "accept",
        "reason": "confident",
        "novelty": 0.5,
        "band": {"low": 0.4, "high": 0.6},
        "model": {"name": "glasses", "version": "7"},
    }
    return {**body, **changes}


def probability_of(expected: str | None) -> float:
    """Return a probability that agrees with the expected label."""
    return 0.25 if expected == "no_glasses" else 0.75


def card(size: int = 32, version: str = "7") -> httpx.Response:
    """Return the response of `/v1/model`."""
    return httpx.Response(200, json={"name": "glasses", "version": version, "input": {"size": size}})


def accepted_tensor(request: httpx.Request, *, version: str = "7") -> httpx.Response:
    """Accept every image of a tensor."""
    return httpx.Response(200, json=tensor_decisions(read_head(request), version=version))


def tensor_decisions(head: dict[str, Any], *, version: str = "7", **changes: Any) -> dict[str, Any]:
    """Return the body of confident decisions about a tensor with the expected labels, updated with `changes`."""
    count = head["inputs"][0]["shape"][0]
    labels = head["inputs"][1]["data"] if len(head["inputs"]) > 1 else [None] * count
    columns = {
        "glasses_probability": ("FP32", [probability_of(label) for label in labels]),
        "decision": ("BYTES", ["accept"] * count),
        "reason": ("BYTES", ["confident"] * count),
    }
    outputs = [
        {"name": name, "datatype": datatype, "shape": [count], "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return {"id": head["id"], "model_name": "glasses", "model_version": version, "outputs": outputs, **changes}


def read_head(request: httpx.Request) -> dict[str, Any]:
    """Return the JSON header of an inference request."""
    length = int(request.headers["Inference-Header-Content-Length"])
    head: dict[str, Any] = json.loads(request.content[:length])
    return head


class ScriptedGate:
    """Responds by path: `/v1/model`, decisions and inference; tests may replace each part."""

    def __init__(self) -> None:
        self.size = 32
        self.version = "7"
        self.seen: list[httpx.Request] = []
        self.ready: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200, content=b"{}")
        self.decide: Callable[[httpx.Request], httpx.Response] = accepted
        self.infer: Callable[[httpx.Request], httpx.Response] = lambda request: accepted_tensor(
            request, version=self.version
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.url.path == "/v2/health/ready":
            return self.ready(request)
        if request.url.path == "/v1/model":
            return card(self.size, self.version)
        return self.infer(request) if request.url.path.endswith("/infer") else self.decide(request)

    @property
    def paths(self) -> list[str]:
        """The paths of all requests."""
        return [request.url.path for request in self.seen]


@contextmanager
def service_at(port: int) -> Iterator[FakeScorer]:
    """Run a real service with a fake model on this port; drain and stop it at the end of the block."""
    settings = Settings(port=port, records_url="off")
    scorer = FakeScorer()
    server = Server(settings, build_runtime(settings, LoadedModel(brightness_model().card, scorer, "fake")))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield scorer
    finally:
        scorer.go.set()
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


FILE = b"a file"
PIXELS = flat(200)

# Both classes share the interpretation of responses.
of_one_class = pytest.mark.parametrize("script", [Sync], ids=["Gate"], indirect=True)
