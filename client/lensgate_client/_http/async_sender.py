"""Run calls with an asynchronous httpx client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import httpx

from lensgate_client._http.cancellation import LiveRequests
from lensgate_client._http.lifetime import ForkGuard, LoopGuard, closed_error
from lensgate_client._http.options import client_options, request_options
from lensgate_client._http.response_reader import ResponseReader, araw_chunks
from lensgate_client._http.transport_errors import transport_error
from lensgate_client._protocol.retry_loop import Attempt, AttemptResult, Call
from lensgate_client.errors import DeadlineExceeded, UnexpectedAnswer

_Result = TypeVar("_Result")

_CLOSE_SECONDS = 1.0
"""Longest wait for the cleanup of the requests that `close` ends."""


class AsyncSender:
    """Sends the attempts of calls on one event loop.

    Args:
        url: URL of the gate.
        token: access token, if the gate requires one.
        transport: a transport instead of httpx's default.
        sleep: waits for seconds.

    Raises:
        ValueError: the URL or the token is invalid, or a variable of the environment.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.AsyncBaseTransport | None,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        options = client_options(url, token, transport=transport, handler="handle_async_request")
        self._proxy: httpx.Proxy | None = options.get("proxy")
        self._http = httpx.AsyncClient(**options)
        self._live = LiveRequests(self._http)
        self._fork_guard = ForkGuard()
        self._loop_guard = LoopGuard()
        self._is_closed = False
        self._limits: set[asyncio.Timeout] = set()  # Of the requests in flight.
        self._is_idle = asyncio.Event()
        self._sleep = sleep

    async def run(self, call: Call[_Result]) -> _Result:
        """Send the attempts of a call; return its value.

        Raises:
            GateError: the call failed, or the sender is closed.
            RuntimeError: this is a forked process, or earlier calls ran on another event loop.
        """
        self._fork_guard.check()
        self._check_open()
        self._loop_guard.check()
        try:
            attempt = next(call)
            while True:
                attempt = call.send(await self._send(attempt))
        except StopIteration as end:
            result: _Result = end.value
            return result

    async def close(self) -> None:
        """Refuse new attempts and close the connections; requests in flight fail."""
        self._is_closed = True
        if not self._loop_guard.is_other:
            try:
                await self._end_requests()
            finally:  # A caller that cancels `close` leaves no connections either.
                await self._http.aclose()

    async def _end_requests(self) -> None:
        """End the requests in flight: httpx would let those that are connecting finish, and not close them."""
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)
        if self._limits:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._is_idle.wait()

    @asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            self._is_idle.clear()
            try:
                yield
            finally:
                self._limits.remove(limit)
                if not self._limits:
                    self._is_idle.set()

    async def _send(self, attempt: Attempt) -> AttemptResult:
        if attempt.delay:
            await self._sleep(attempt.delay)
        self._check_open()
        try:
            async with self._limited(attempt.seconds):
                return await self._exchange(attempt)
        except UnexpectedAnswer as error:
            return error
        except TimeoutError:
            self._check_open()
            return DeadlineExceeded("the gate did not respond in time")
        except httpx.RequestError as error:
            return transport_error(error, self._proxy)

    async def _exchange(self, attempt: Attempt) -> AttemptResult:
        with self._live.request() as extensions:
            async with self._http.stream(**request_options(attempt), extensions=extensions) as response:
                reader = ResponseReader(response, attempt.request.max_bytes, self._proxy)
                async for chunk in araw_chunks(response):
                    if not reader.add(chunk):
                        break
                return reader.result()

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed_error()
