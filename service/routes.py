"""The paths of the service. They translate between HTTP and the pipeline, and decide nothing."""

import inspect
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from gate import Action, Card, Label, Reason
from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Internal,
    InvalidImage,
    MalformedRequest,
    NotReady,
    Overloaded,
    ServiceError,
)
from service.identity import new_id
from service.pipeline import Answer, Pipeline


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


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "image/jpeg", "image/webp")
        },
    }
}


def _problems(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, as its documentation shows them."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {kind.status: {"description": inspect.getdoc(kind), "content": content} for kind in kinds}


def make_routes(pipeline: Pipeline) -> APIRouter:
    """All routes, bound to one pipeline."""
    router = APIRouter()

    @router.post(
        "/v1/decisions",
        responses={
            200: {"model": DecisionAnswer},
            **_problems(MalformedRequest, BodyTooLarge, InvalidImage, Overloaded, Internal, NotReady, DeadlineExceeded),
        },
        openapi_extra=_IMAGE_BODY,
        summary="Judge one image, sent as the raw body",
    )
    async def decide(
        request: Request,
        expected: Annotated[Label | None, Query(description="What the generator was asked for")] = None,
        timeout_ms: Annotated[int | None, Query(ge=1, description="Answer within this time, or not at all")] = None,
        identity: Annotated[
            str | None,
            # No control characters: it stands in logs and tables.
            Query(alias="id", pattern=r"^[^\x00-\x1f\x7f]{1,128}$", description="Comes back; made up if missing"),
        ] = None,
    ) -> Response:
        answer = await pipeline.answer(request, expected=expected, timeout_ms=timeout_ms)
        body = _decision_body(identity or new_id(), answer)
        request.state.log = {"decision": body["decision"], "reason": body["reason"], "id": body["id"]}
        return JSONResponse(body)

    @router.get("/v1/model", summary="The card of the model that is served")
    async def model() -> Card:
        return pipeline.engine.card

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", responses=_problems(NotReady), summary="200 unless only a restart helps")
    async def livez() -> dict[str, str]:
        pipeline.check_alive()
        return {"status": "alive"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=_problems(NotReady), summary="200 where requests may be sent")
    async def readyz() -> dict[str, str]:
        pipeline.check_ready()
        return {"status": "ready"}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(pipeline.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _decision_body(identity: str, answer: Answer) -> dict[str, Any]:
    engine = answer.engine
    return {
        "id": identity,
        "glasses_probability": answer.score.probability,
        "label": answer.decision.label,
        "decision": answer.decision.action,
        "reason": answer.decision.reason,
        "novelty": answer.score.novelty,
        "band": {"low": engine.band.low, "high": engine.band.high},
        "model": {"name": engine.card.name, "version": engine.card.version},
    }
