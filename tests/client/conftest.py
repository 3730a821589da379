from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from tests.client.support import NO_TLS, URL, Async, Clock, Either, Make, Sync
from tests.support.servers import Running, running_service


@pytest.fixture(scope="package")
def service() -> Iterator[Running]:
    """One for all: whoever changes it changes it back."""
    with running_service() as running:
        yield running


@pytest.fixture(params=[Sync, Async], ids=["Gate", "AsyncGate"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a gate object, of either class, that asks a real service."""
    kind: type[Either] = request.param
    transport = httpx.HTTPTransport if kind is Sync else httpx.AsyncHTTPTransport
    with ExitStack() as stack:
        # A transport of its own, so that no proxy of the environment comes between.
        yield lambda url, **options: stack.enter_context(
            closing(kind(url, transport=transport(verify=NO_TLS), **options))
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[Sync, Async], ids=["Gate", "AsyncGate"])
def script(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Make]:
    """Makes a gate object, of either class, whose requests a function answers, and whose time is the clock's."""
    kind: type[Either] = request.param

    def build(answer: Any, **options: Any) -> Either:
        settings = {"clock": clock, "on_sleep": clock.sleep, "chance": lambda: 0.5, **options}
        return stack.enter_context(closing(kind(URL, transport=httpx.MockTransport(answer), **settings)))

    with ExitStack() as stack:
        yield build
