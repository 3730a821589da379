"""Routes that describe the served model."""

from fastapi import APIRouter

from gate import Card
from service.inference.pipeline import Pipeline


def make_routes(pipeline: Pipeline) -> APIRouter:
    """Make the routes for one pipeline."""
    router = APIRouter()

    @router.get("/v1/model", summary="Show the card of the served model")
    async def model() -> Card:
        return pipeline.engine.card

    return router
