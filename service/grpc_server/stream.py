"""`ModelStreamInfer`: requests and answers of one call, in order, each admitted on its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.access.guard import Guard
from service.api.batch.ordered_results import OrderedResults
from service.errors import BodyTooSlow, Draining, ServiceError
from service.grpc_server.calls import Call, open_call
from service.grpc_server.infer import Inferrer
from service.grpc_server.responses import encode_stream_error, encode_stream_response
from service.grpc_server.wire import read_id
from service.http.request_log import RequestLog
from service.ids import new_id
from service.inference.payload import Payload

IN_FLIGHT = 8
"""Requests of one stream between their message and their answer; the next message is not read before."""

IDLE_SECONDS = 75.0
"""Longest time without a message."""

WRITE_SECONDS = 30.0
"""Longest time in which a caller does not read an answer."""


class InferStream:
    """Reads, decides and answers until the caller ends the stream, is silent, or the service drains.

    Args:
        call: the stream's own.
        inferrer: answers the requests.
        guard: checks the token again for each request.
        log: notes each request.
    """

    def __init__(self, call: Call, inferrer: Inferrer, *, guard: Guard, log: RequestLog) -> None:
        self._peer = call.peer
        self._context = call.peer.context
        self._name = call.name
        self._inferrer = inferrer
        self._guard = guard
        self._log = log
        self._results: OrderedResults[bytes] = OrderedResults(IN_FLIGHT)
        self._idle_limit: asyncio.Timeout | None = None
        self._fault: ServiceError | None = None
        self._tasks: set[asyncio.Task[bytes]] = set()

    async def run(self) -> None:
        """Answer all requests.

        Raises:
            BodyTooSlow: no message arrived for too long.
            Draining: the service is shutting down.
            CancelledError: the caller does not read its answers.
        """
        reading = asyncio.create_task(self._read())
        try:
            async for response in self._results:
                await self._write(response)
            await reading
        finally:
            for task in (reading, *self._tasks):
                task.cancel()
        if self._fault is not None:
            raise self._fault

    def drain(self) -> None:
        """Read no further messages; those read are answered."""
        self._fault = self._fault or Draining("the service is shutting down: open the stream on another replica")
        if self._idle_limit is not None:
            self._idle_limit.reschedule(asyncio.get_running_loop().time())

    async def _read(self) -> None:
        try:
            while True:
                await self._results.reserve()
                if (message := await self._next()) is None:
                    return
                self._begin(Payload(message))
                message = None
                # The request takes its permit, or is refused, before the next message can arrive.
                await asyncio.sleep(0)
        finally:
            self._results.end()

    async def _next(self) -> bytes | None:
        """Return the next message; None at the end of the stream."""
        if self._fault is not None:
            return None
        try:
            async with asyncio.timeout(IDLE_SECONDS) as self._idle_limit:
                message = await self._context.read()
        except TimeoutError:
            silent = BodyTooSlow(f"the stream was silent for {IDLE_SECONDS:.0f} s: open it again")
            self._fault = self._fault or silent
            return None
        finally:
            self._idle_limit = None
        return message if isinstance(message, bytes) else None

    def _begin(self, message: Payload[bytes]) -> None:
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._results.put(task)

    async def _answer(self, message: Payload[bytes]) -> bytes:
        call = open_call(self._name, self._peer, request_id=new_id())
        identity = read_id(message.data)
        try:
            with call.logged(self._log):
                call.admit(self._guard)
                return encode_stream_response(await self._inferrer.answer(call, _arrived(message)))
        except ServiceError as error:
            return encode_stream_error(error, identity=identity, request_id=call.state.request_id)

    async def _write(self, response: bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._context.write(response)
        except TimeoutError:
            raise asyncio.CancelledError from None


@asynccontextmanager
async def _arrived(message: Payload[bytes]) -> AsyncIterator[bytes]:
    yield message.take()
