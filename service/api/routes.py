"""The paths that people and machines look after the service with. They decide nothing."""

from fastapi import APIRouter

from gate import Card
from service.runtime import Runtime


def make_routes(runtime: Runtime) -> APIRouter:
    """All of them, bound to one runtime."""
    router = APIRouter()

    @router.get("/v1/model", summary="The card of the model that is served")
    async def model() -> Card:
        return runtime.runner.card

    return router
