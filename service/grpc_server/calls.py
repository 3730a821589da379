"""One call, or one request of a stream: its id, its caller, its deadline, its log line."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from service.access.guard import Guard
from service.access.policy import GRPC
from service.errors import BodyTooLarge, ClientGone, Forbidden, MalformedRequest
from service.grpc_server.messages import HEALTH, SERVICE
from service.grpc_server.status import REQUEST_ID
from service.http.caller import name_principal
from service.http.request_log import RequestLog, answerable, choose_request_id
from service.http.scope_state import RequestState

Context = Any
"""grpc's context of a call, `grpc.aio.ServicerContext`; grpc has no type annotations."""

CHECK = "Check"
"""The one method of the health service; all others belong to the protocol."""

_BROWSER_HEADERS = ("origin", "sec-fetch-site")


class Peer:
    """The sender of a call: its metadata, its address and its deadline.

    Args:
        context: grpc's, of the call.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        # grpc counts by the system clock, which may be set while a stream is open.
        left = context.time_remaining()
        self._deadline = math.inf if left is None else time.monotonic() + left

    def values(self, name: str) -> list[str]:
        """Return all values of a name of the metadata."""
        return [value for each, value in self.context.invocation_metadata() or () if each == name]

    @property
    def host(self) -> str:
        """The address, empty if it is no longer connected."""
        return _host_of(self.context.peer())

    @property
    def authorization(self) -> str | None:
        """The token as it was sent.

        Raises:
            MalformedRequest: there are several, of which a proxy may have checked another one.
        """
        values = self.values("authorization")
        if len(values) > 1:
            raise MalformedRequest("the metadata authorization appears twice: send it once")
        return values[0] if values else None

    def timeout(self, longest: float) -> float:
        """Return the seconds left until its deadline, at most `longest`."""
        return min(max(0.0, self._deadline - time.monotonic()), longest)

    def check_no_browser(self) -> None:
        """Raise Forbidden for a request that a page made a browser send."""
        if any(map(self.values, _BROWSER_HEADERS)):
            raise Forbidden("the gRPC port does not answer browsers")


@dataclass(slots=True)
class Call:
    """One request of a peer.

    Attributes:
        name: of the method.
        peer: its sender.
        state: what its log line needs; filled as it proceeds.
        status: of its answer, by HTTP.
    """

    name: str
    peer: Peer
    state: RequestState = field(default_factory=RequestState)
    started: float = field(default_factory=time.monotonic)
    status: int = 200

    @property
    def caller(self) -> str:
        """The name under which the caller's share is counted."""
        return name_principal(self.state.principal, self.peer.host)

    def admit(self, guard: Guard, *, is_counted: bool = True) -> None:
        """Check the token; `is_counted` takes the call from its rate.

        Raises:
            Unauthorized, Forbidden, RateLimited: the call is refused.
        """
        self.peer.check_no_browser()
        authorization = self.peer.authorization
        guard.admit_bearer(self.state, authorization, need=GRPC[self.name], is_counted=is_counted)

    @contextmanager
    def logged(self, log: RequestLog, *, only_failures: bool = False) -> Iterator[None]:
        """Write the call's log line at the end of the block; every error leaves it as a `ServiceError`."""
        try:
            yield
        except asyncio.CancelledError:
            self.status = ClientGone.status
            raise
        except Exception as error:
            problem = answerable(error, self.state)
            self.status = problem.status
            if problem is error:
                raise
            raise problem from error
        finally:
            if not only_failures or self.status >= 400:
                self._observe(log)
            self.state.problem = None  # Its traceback holds this call and the message: a reference cycle.

    def _observe(self, log: RequestLog) -> None:
        path = route_of(self.name)
        log.observe(
            self.state,
            method="POST",
            path=path,
            route=path,
            status=self.status,
            started=self.started,
            headers=self.peer.values,
        )

    def note_names(self, names: dict[str, str | int]) -> None:
        """Note the caller's id and source for the log line."""
        self.state.log = names


def open_call(name: str, peer: Peer, *, request_id: str | None = None) -> Call:
    """Begin a call; its id is `request_id`, the caller's `x-request-id`, or new."""
    call = Call(name, peer)
    call.state.request_id = choose_request_id([request_id] if request_id else peer.values(REQUEST_ID))
    return call


def route_of(name: str) -> str:
    """Return the path of a method, the label of its metrics."""
    return f"/{HEALTH if name == CHECK else SERVICE}/{name}"


async def read_message(context: Context, max_bytes: int) -> bytes:
    """Read the message of a call.

    Raises:
        BodyTooLarge: the caller sent none, or grpc refused it for its size, which it does not tell apart.
    """
    message = await context.read()
    if not isinstance(message, bytes):
        raise BodyTooLarge(
            f"no whole message of at most {max_bytes:,} bytes arrived (LENSGATE_GRPC_MAX_MESSAGE_BYTES): send one, and "
            "fewer images if it was larger"
        )
    return message


def _host_of(peer: str) -> str:
    """Return the host in `ipv4:HOST:PORT` or `ipv6:[HOST]:PORT`."""
    return unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")
