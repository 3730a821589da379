"""`POST /v1/decisions` and `/v1/trials`: decide about one image."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gate import Label
from gate.errors import CorruptImage, EmptyImage, UnsupportedImage
from service.api.request_admission import admit_request
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Internal,
    InvalidImage,
    MalformedRequest,
    NotReady,
    Overloaded,
)
from service.http.openapi import BINARY, describe_body, describe_problems
from service.http.request_body import WhileConnected, read_body
from service.http.scope_state import request_state
from service.ids import Identity, Source, new_id
from service.inference.payload import Payload
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.paths import DECISIONS, TRIALS
from service.runtime import Runtime
from service.schemas import DecisionAnswer

_FRAMING = {"content-length", "transfer-encoding"}
_URLENCODED = "application/x-www-form-urlencoded"

_PROBLEMS = describe_problems(
    [MalformedRequest, BodyTooSlow, BodyTooLarge, InvalidImage, Overloaded, Internal, NotReady, DeadlineExceeded]
)
_BODY = {
    "requestBody": describe_body(
        # The last is for generated clients that know no type of images; the Content-Type is ignored.
        dict.fromkeys(("image/png", "image/jpeg", "image/webp", "application/octet-stream"), BINARY)
    )
}


class DecisionQuery(BaseModel):
    """The query parameters."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    expected: Label | None = Field(None, description="The label that the generator was asked for")
    timeout_ms: int | None = Field(
        None, ge=1, description="Milliseconds until the deadline; can only shorten the service's own"
    )
    identity: Identity | None = Field(None, alias="id", description="Returned with the decision; generated if missing")
    source: Source | None = Field(None, description="The generator, checkpoint or run that made the image")


def make_decision_routes(runtime: Runtime) -> APIRouter:
    """Build `POST /v1/decisions` and `POST /v1/trials`."""
    router = APIRouter()

    @router.post(
        DECISIONS,
        summary="Decide about one image, sent as the raw body",
        response_model=DecisionAnswer,
        responses=_PROBLEMS,
        openapi_extra=_BODY,
    )
    async def decide(request: Request, query: Annotated[DecisionQuery, Query()]) -> Response:
        return await _answer(runtime, request, query, is_trial=False)

    @router.post(
        TRIALS,
        summary="Try one image: the same decision, which is neither counted nor recorded",
        response_model=DecisionAnswer,
        responses=_PROBLEMS,
        openapi_extra=_BODY,
    )
    async def try_image(request: Request, query: Annotated[DecisionQuery, Query()]) -> Response:
        return await _answer(runtime, request, query, is_trial=True)

    return router


async def _answer(runtime: Runtime, request: Request, query: DecisionQuery, *, is_trial: bool) -> Response:
    identity = query.identity or new_id()
    image = ImageRequest(identity, query.expected, query.source)
    try:
        async with admit_request(runtime, request, timeout_ms=query.timeout_ms, is_trial=is_trial) as context:
            decided = await _decide(runtime, request, context, image=image)
    except InvalidImage as error:
        if (hint := _name_wrapping(error, request)) is None:
            raise
        raise InvalidImage(f"{error.detail}; {hint}", code=error.code) from error
    body = decision_body(identity, decided)
    request_state(request.scope).log = {"decision": body["decision"], "reason": body["reason"], "id": body["id"]}
    # Serialized here: the fields are typed already, and validating them again would cost more than orjson does.
    return Response(orjson.dumps(body), media_type="application/json")


async def _decide(runtime: Runtime, request: Request, context: RequestContext, *, image: ImageRequest) -> ImageDecision:
    with context.stages.measure("read"):
        body = Payload(await read_body(request, context.permit, min_rate=runtime.settings.min_body_rate))
    with WhileConnected(request):
        return await runtime.pipeline.decide_file(context, body, image)


def _name_wrapping(error: InvalidImage, request: Request) -> str | None:
    """Name the header that may tell why the bytes are not an image, a damaged one or none, and the cure."""
    encoding = request.headers.get("content-encoding", "identity")
    if error.code == UnsupportedImage.code and encoding != "identity":
        return f"Content-Encoding {encoding[:40]!r} is not decoded here: send the file without it"
    if error.code == CorruptImage.code and request.headers.get("content-type", "").startswith(_URLENCODED):
        return "curl -d removes line ends: use --data-binary @FILE"
    if error.code == EmptyImage.code and _FRAMING.isdisjoint(request.headers.keys()):
        return "the request announces no body: set Content-Length, or Transfer-Encoding: chunked"
    return None


def decision_body(identity: str | None, decided: ImageDecision) -> dict[str, Any]:
    """Return the JSON members of one decision, in the order of the wire."""
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
