"""Run calls with an asynchronous httpx client."""

import asyncio
from collections.abc import Awaitable, Callable
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
        options = client_options(url, token, transport=transport)
        self._proxy: httpx.Proxy | None = options.get("proxy")
        self._http = httpx.AsyncClient(**options)
        self._live = LiveRequests(self._http)
        self._fork_guard = ForkGuard()
        self._loop_guard = LoopGuard()
        self._is_closed = False
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
            await self._http.aclose()

    async def _send(self, attempt: Attempt) -> AttemptResult:
        if attempt.delay:
            await self._sleep(attempt.delay)
        self._check_open()
        try:
            async with asyncio.timeout(attempt.seconds):
                return await self._exchange(attempt)
        except UnexpectedAnswer as error:
            return error
        except TimeoutError:
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
