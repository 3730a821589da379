from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from tests.client.support import NO_TLS, URL, Async, Clock, Either, Make, Sync
from tests.support.servers import Running, running_service


@pytest.fixture(scope="package")
def service() -> Iterator[Running]:
    """A service shared by all tests; a test that changes it must restore it."""
    with running_service() as running:
        yield running


@pytest.fixture(params=[Sync, Async], ids=["Gate", "AsyncGate"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Create a gate object of either class for a real service."""
    kind: type[Either] = request.param
    transport = httpx.HTTPTransport if kind is Sync else httpx.AsyncHTTPTransport
    with ExitStack() as stack:
        # An own transport ignores the proxies of the environment.
        yield lambda url, **options: stack.enter_context(
            closing(kind(url, transport=transport(verify=NO_TLS), **options))
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[Sync, Async], ids=["Gate", "AsyncGate"])
def script(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Make]:
    """Create a gate object of either class whose responses come from a function and whose time from the clock."""
    kind: type[Either] = request.param

    def build(answer: Any, **options: Any) -> Either:
        settings = {"clock": clock, "on_sleep": clock.sleep, "chance": lambda: 0.5, **options}
        return stack.enter_context(closing(kind(URL, transport=httpx.MockTransport(answer), **settings)))

    with ExitStack() as stack:
        yield build
