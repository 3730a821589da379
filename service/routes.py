"""The paths that people and machines look after the service with. They decide nothing."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gate import Card
from service.documentation import describe_problems
from service.errors import NotReady
from service.pipeline import Pipeline


def make_routes(pipeline: Pipeline) -> APIRouter:
    """All of them, bound to one pipeline."""
    router = APIRouter()
    not_ready = describe_problems([NotReady])

    @router.get("/v1/model", summary="The card of the model that is served")
    async def model() -> Card:
        return pipeline.engine.card

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", responses=not_ready, summary="200 unless only a restart helps")
    async def livez() -> dict[str, str]:
        pipeline.check_alive()
        return {"status": "alive"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=not_ready, summary="200 where requests may be sent")
    async def readyz() -> dict[str, str]:
        pipeline.check_ready()
        return {"status": "ready"}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(pipeline.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
