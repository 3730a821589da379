"""The typed state of one request, shared by the connection, telemetry, access control and endpoints."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from service.errors import ServiceError
from service.timings import Stages

_KEY = "lensgate.request"


class Connection(Protocol):
    """The part of a connection that ASGI does not offer."""

    transport: asyncio.Transport

    def read_into(self, rest: memoryview) -> None:
        """Receive the rest of the body into a buffer of that size; `receive` then tells when it is complete."""

    def rest_of_body(self) -> int:
        """Return the bytes still missing from the buffer of `read_into`."""

    def stop_reading(self) -> None:
        """Abandon an incomplete body; the answer is then the last on this connection."""


class Caller(Protocol):
    """The identity behind a request, as far as logs and fair shares need it."""

    @property
    def name(self) -> str:
        """The name of its token."""
        ...

    @property
    def is_anonymous(self) -> bool:
        """Whether the request came without a token."""
        ...


@dataclass(slots=True)
class RequestState:
    """Everything known of a request, from its connection to its log line.

    Attributes:
        request_id: from `X-Request-ID`, or new.
        stages: times of the work, for the log and the trace.
        log: further fields of the log line and the trace.
        principal: the caller, set by access control.
        session: the browser's session, set by access control.
        problem: the error that was answered.
        connection: missing behind a server without zero-copy bodies.
        on_disconnect: called when the connection is lost.
    """

    request_id: str = ""
    stages: Stages = field(default_factory=Stages)
    log: dict[str, str | int] = field(default_factory=dict)
    principal: Caller | None = None
    session: object | None = None
    problem: ServiceError | None = None
    connection: Connection | None = None
    on_disconnect: Callable[[], None] | None = None


def request_state(scope: Scope) -> RequestState:
    """Return the state of a request; it is created by the first to ask."""
    state: RequestState | None = scope.get(_KEY)
    if state is None:
        state = scope[_KEY] = RequestState()
    return state
