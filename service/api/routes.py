"""The paths that people and machines look after the service with. They decide nothing."""

from fastapi import APIRouter

from gate import Card
from service.inference.pipeline import Pipeline


def make_routes(pipeline: Pipeline) -> APIRouter:
    """All of them, bound to one pipeline."""
    router = APIRouter()

    @router.get("/v1/model", summary="The card of the model that is served")
    async def model() -> Card:
        return pipeline.runner.card

    return router
