"""Answer one `ModelInferRequest`: admit, read, decide."""

import time
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from service.api.request_admission import admit
from service.api.v2.inference import Inference, log_fields
from service.grpc_server.calls import Call
from service.grpc_server.requests import read_infer_request
from service.grpc_server.responses import encode_decisions
from service.inference.payload import Payload
from service.inference.request_context import RequestContext


class Inferrer:
    """Answers requests for decisions, of single calls and of streams.

    Args:
        inference: decides and counts.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._runtime = inference.runtime
        self._settings = inference.runtime.settings

    async def answer(self, call: Call, arriving: AbstractAsyncContextManager[bytes]) -> Any:
        """Return the `ModelInferResponse` of one request; entering `arriving` reads its message.

        Raises:
            ServiceError: the request is not admitted, or cannot be answered.
        """
        with self._inference.count_failure():
            async with admit(
                self._runtime,
                call.state.stages,
                timeout=call.peer.timeout(self._settings.timeout(None)),
                size=None,
                max_body_bytes=self._settings.grpc_max_message_bytes,
                caller=call.caller,
            ) as context:
                with context.stages.measure("read"):
                    body = Payload(await _read(context, arriving))
                return await self._decide(call, context, body)

    async def _decide(self, call: Call, context: RequestContext, body: Payload[bytes]) -> Any:
        model = self._inference.model_of(context)
        parsed = read_infer_request(
            body.take(),
            model=model,
            read_shared=partial(self._inference.read_shared, context),
            note_names=call.note_names,
        )
        self._inference.make_room(context, parsed)
        answers = await self._inference.decide(context, parsed)
        encoding = time.monotonic()
        response, shared = encode_decisions(parsed, answers, model=model)
        self._inference.write_shared(shared)
        self._inference.count_success(context, encoding)
        call.state.log = log_fields(parsed, answers)
        return response


async def _read(context: RequestContext, arriving: AbstractAsyncContextManager[bytes]) -> bytes:
    async with arriving as message:
        context.permit.receive(len(message))
        context.permit.complete()
        return message
