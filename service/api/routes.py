"""`GET /v1/model`: the card of the served model."""

from fastapi import APIRouter

from gate import Card
from service.runtime import Runtime


def make_model_routes(runtime: Runtime) -> APIRouter:
    """Build `GET /v1/model`."""
    router = APIRouter()

    @router.get("/v1/model", summary="Show the card of the served model")
    async def model() -> Card:
        return runtime.runner.card

    return router
