"""`POST /v1/decisions`: one image in, one decision out."""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gate import Action, Label, Reason
from gate.errors import UnsupportedImage
from service.api.request_admission import admit_request
from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Internal,
    InvalidImage,
    MalformedRequest,
    NotReady,
    Overloaded,
)
from service.http.openapi import describe_operation
from service.http.query_params import read_query
from service.http.request_body import read_body, while_connected
from service.http.scope_state import request_state
from service.ids import Identity, new_id
from service.inference.payload import Payload
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.runtime import Runtime


class DecisionQuery(BaseModel):
    """What stands behind the question mark."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    expected: Label | None = Field(None, description="What the generator was asked for")
    timeout_ms: int | None = Field(None, ge=1, description="Answer within this time, or not at all")
    identity: Identity | None = Field(None, alias="id", description="Comes back; made up if missing")


class BandAnswer(BaseModel):
    """The band the decision was taken with."""

    low: float
    high: float


class ModelAnswer(BaseModel):
    """The model that scored."""

    name: str
    version: str


class DecisionAnswer(BaseModel):
    """One decision, as it is answered."""

    id: str
    glasses_probability: float
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None
    band: BandAnswer
    model: ModelAnswer


class Decisions:
    """The endpoint, an ASGI app: what it saves of a framework's ways is a tenth of what an image costs."""

    operation = describe_operation(
        "Judge one image, sent as the raw body",
        query=DecisionQuery,
        body={kind: {"type": "string", "format": "binary"} for kind in ("image/png", "image/jpeg", "image/webp")},
        answer=DecisionAnswer,
        errors=(MalformedRequest, BodyTooLarge, InvalidImage, Overloaded, Internal, NotReady, DeadlineExceeded),
    )

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        query = read_query(request, DecisionQuery)
        identity = query.identity or new_id()
        try:
            async with admit_request(self._runtime, request, timeout_ms=query.timeout_ms) as context:
                decided = await self._decide(request, context, ImageRequest(identity, query.expected))
        except InvalidImage as error:
            raise _name_encoding(error, request) from error
        body = decision_body(identity, decided)
        request_state(scope).log = {"decision": body["decision"], "reason": body["reason"], "id": body["id"]}
        await Response(orjson.dumps(body), media_type="application/json")(scope, receive, send)

    async def _decide(self, request: Request, context: RequestContext, image: ImageRequest) -> ImageDecision:
        with context.stages.measure("read"):
            body = Payload(await read_body(request, context.permit, min_rate=self._runtime.settings.min_body_rate))
        with while_connected(request):
            return await self._runtime.pipeline.decide_file(context, body, image)


def _name_encoding(error: InvalidImage, request: Request) -> InvalidImage:
    """Say that Content-Encoding is not acted on where it may be why the bytes are no image."""
    encoding = request.headers.get("content-encoding", "identity")
    if error.code != UnsupportedImage.code or encoding == "identity":
        return error
    text = f"{error.detail}; Content-Encoding {encoding[:40]!r} is not decoded here: send the file without it"
    return InvalidImage(UnsupportedImage(text))


def decision_body(identity: str | None, decided: ImageDecision) -> dict[str, Any]:
    """One decision as every way of asking for it answers it."""
    runner = decided.runner
    return {
        "id": identity,
        "glasses_probability": decided.score.probability,
        "label": decided.decision.label,
        "decision": decided.decision.action,
        "reason": decided.decision.reason,
        "novelty": decided.score.novelty,
        "band": {"low": runner.band.low, "high": runner.band.high},
        "model": {"name": runner.card.name, "version": runner.card.version},
    }
