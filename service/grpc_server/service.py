"""The calls of the service, from their metadata to their status."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import grpc

from service.access.guard import Guard
from service.access.policy import GRPC
from service.api.request_admission import CountRefusals
from service.api.v2.inference import Inference
from service.api.v2.served_model import check_model
from service.errors import BodyTooLarge, DeadlineExceeded, NotFound, NotReady, Overloaded, ServiceError
from service.grpc_server import messages
from service.grpc_server.calls import CHECK, Call, Context, Peer, open_call, read_message, route_of
from service.grpc_server.infer import Inferrer
from service.grpc_server.reading import ReadSlots
from service.grpc_server.requests import parse_message
from service.grpc_server.responses import encode_model_metadata, encode_server_metadata
from service.grpc_server.status import REQUEST_ID, code_of, detail_of, metadata_of
from service.grpc_server.stream import WRITE_SECONDS, InferStream
from service.http.request_log import RequestLog, answerable
from service.inference.caller_shares import Shares

_SMALL_BYTES = 64 * 2**10
_SMALL_SECONDS = 10.0

ROUTES = tuple(map(route_of, GRPC))
"""The labels of the service's metrics."""

_Answer = Callable[[Call], Awaitable[bytes]]


class InferenceService:
    """Answers the protocol's calls.

    Every call is registered as one whose requests are a stream, which is the same on the wire: grpc then calls it when
    its metadata has arrived, and reads a message only when it is asked to. Token, rate, load and deadline are checked
    before that, as over HTTP.

    Args:
        inference: decides and counts.
        guard: checks tokens and rates.
        log: notes each call.
    """

    def __init__(self, inference: Inference, *, guard: Guard, log: RequestLog) -> None:
        settings, worker = inference.runtime.settings, inference.runtime.worker
        limit = max(1, worker.share(settings.max_inflight_bytes) // settings.grpc_max_message_bytes)
        self._inference = inference
        self._runtime = inference.runtime
        self._settings = settings
        self._guard = guard
        self._log = log
        self._slots = ReadSlots(limit, settings.max_share_per_caller)
        self._streams: set[InferStream] = set()
        self._shares = Shares(settings.max_share_per_caller, {"calls": inference.runtime.connections})
        # The next message of an open stream may arrive at any time.
        self._max_streams = min(limit, worker.share(settings.max_streams))
        self._inferrer = Inferrer(inference)
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of all calls."""
        answers: dict[str, _Answer] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        protocol = {name: self._handle(name, answer) for name, answer in answers.items()}
        protocol["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._answer_stream)
        health = {CHECK: self._handle(CHECK, self._check)}
        return (
            grpc.method_handlers_generic_handler(messages.SERVICE, protocol),
            grpc.method_handlers_generic_handler(messages.HEALTH, health),
        )

    def _handle(self, name: str, answer: _Answer) -> grpc.RpcMethodHandler:
        return grpc.stream_unary_rpc_method_handler(partial(self._answer_one, name, answer))

    async def drain(self, seconds: float) -> None:
        """End the open streams, and wait at most `seconds` for the calls in progress."""
        for stream in tuple(self._streams):
            stream.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_idle.wait()

    def hold(self) -> None:
        """Answer no further call before `release`.

        gRPC cancels calls that arrive while it shuts down, and clients do not retry these. Callers whose call is held
        wait for its answer instead of sending another one.
        """
        self._may_answer.clear()

    def release(self) -> None:
        """Answer the held calls: the service is draining, so they are refused."""
        self._may_answer.set()

    async def _answer_one(self, name: str, answer: _Answer, _: object, context: Context) -> bytes:
        call = open_call(name, Peer(context))
        await self._may_answer.wait()
        try:
            with self._in_progress(), call.logged(self._log):
                call.admit(self._guard)
                self._take_share(call.caller)
                response = await answer(call)
        except ServiceError as error:
            await _refuse(call, error)
            raise
        context.set_trailing_metadata(((REQUEST_ID, call.state.request_id),))
        _bound_sending()
        return response

    def _take_share(self, caller: str) -> None:
        """Count a call until its answer has been sent, or is dropped: answers that are not read must not fill the port.

        Raises:
            Overloaded: the caller has too many calls in progress.
        """
        with CountRefusals(self._runtime.metrics):
            if not self._shares.take(caller, "calls", 1):
                detail = "this caller's share of calls is in progress (LENSGATE_MAX_SHARE_PER_CALLER): try again in 1 s"
                raise Overloaded(detail, reason="calls", retry_after=1)
        _at_end(lambda: self._shares.give_back(caller, "calls", 1))

    async def _answer_stream(self, _: object, context: Context) -> None:
        call = open_call("ModelStreamInfer", Peer(context))
        await self._may_answer.wait()
        try:
            with self._in_progress(), self._open_stream(call) as stream:
                await stream.run()
                await _check_open(context)
        except Exception as error:
            await _refuse(call, answerable(error, call.state))

    @contextmanager
    def _open_stream(self, call: Call) -> Iterator[InferStream]:
        """Admit a stream for as long as the block lasts. Its log lines are those of its requests, and of a refusal."""
        stream = InferStream(call, self._inferrer, guard=self._guard, log=self._log)
        with ExitStack() as stack:
            with call.logged(self._log, only_failures=True):
                call.admit(self._guard, is_counted=False)
                stack.enter_context(CountRefusals(self._runtime.metrics))
                self._check_streams()
                stack.enter_context(self._runtime.admission.stream(call.caller))
            self._streams.add(stream)
            stack.callback(self._streams.discard, stream)
            yield stream

    def _check_streams(self) -> None:
        if (count := len(self._streams)) >= self._max_streams:
            raise Overloaded(f"{count} streams are open: try again in 1 s", reason="streams", retry_after=1)

    @contextmanager
    def _in_progress(self) -> Iterator[None]:
        self._calls += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._is_idle.set()

    async def _infer(self, call: Call) -> bytes:
        return messages.encode(await self._inferrer.answer(call, self._arriving(call)))

    @asynccontextmanager
    async def _arriving(self, call: Call) -> AsyncIterator[bytes]:
        """Read a message; until the block ends it counts as one that is arriving."""
        async with self._slots.hold(call.caller):
            yield await read_message(call.peer.context, self._settings.grpc_max_message_bytes)

    async def _live(self, _: Call) -> bytes:
        return messages.encode(messages.ServerLiveResponse(live=_holds(self._runtime.check_alive)))

    async def _ready(self, _: Call) -> bytes:
        return messages.encode(messages.ServerReadyResponse(ready=_holds(self._runtime.check_ready)))

    async def _check(self, _: Call) -> bytes:
        # The name of a service in the message is not read: reading waits while the port is full, and there is only one.
        return messages.SERVING if _holds(self._runtime.check_ready) else messages.NOT_SERVING

    async def _model_ready(self, call: Call) -> bytes:
        request = await self._read_small(call, messages.ModelReadyRequest)
        is_ready = _holds(partial(self._check_model, request)) and _holds(self._runtime.check_ready)
        return messages.encode(messages.ModelReadyResponse(ready=is_ready))

    async def _server_metadata(self, _: Call) -> bytes:
        return encode_server_metadata(self._settings)

    async def _model_metadata(self, call: Call) -> bytes:
        self._check_model(await self._read_small(call, messages.ModelMetadataRequest))
        return encode_model_metadata(self._inference.model)

    def _check_model(self, request: Any) -> None:
        check_model(self._inference.model, {"name": request.name, "version": request.version})

    async def _read_small(self, call: Call, kind: Any) -> Any:
        """Read a message of a few bytes, which needs no permit."""
        try:
            async with asyncio.timeout(call.peer.timeout(_SMALL_SECONDS)), self._slots.hold(call.caller):
                message = await read_message(call.peer.context, self._settings.grpc_max_message_bytes)
        except TimeoutError as error:
            raise DeadlineExceeded("the message did not arrive in time") from error
        if len(message) > _SMALL_BYTES:
            raise BodyTooLarge(f"the message has {len(message):,} bytes: {_SMALL_BYTES:,} are allowed")
        return parse_message(kind, message)


async def _check_open(context: Context) -> None:
    """Raise CancelledError if gRPC has ended the call, which it does not tell apart from the end of the stream."""
    try:
        await context.send_initial_metadata(())
    except grpc.aio.UsageError:
        pass  # They are sent with the first answer.
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


async def _refuse(call: Call, error: ServiceError) -> None:
    """End the call with the status of an error; grpc's `abort` raises."""
    _bound_sending()
    try:
        await call.peer.context.abort(code_of(error), detail_of(error), metadata_of(error, call.state.request_id))
    except grpc.aio.InternalError:
        # gRPC has ended the call already, such as at a message that it cannot decompress.
        raise asyncio.CancelledError from None


def _bound_sending() -> None:
    """Drop the call if its caller does not read the answer, which grpc sends after the handler has returned."""
    if (task := asyncio.current_task()) is not None:
        timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, task.cancel)
        _at_end(timer.cancel)


def _at_end(act: Callable[[], object]) -> None:
    """Act when grpc is done with the call that this task answers."""
    if (task := asyncio.current_task()) is not None:
        task.add_done_callback(lambda _: act())


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except (NotFound, NotReady):
        return False
    return True
