"""Routes of the pages: four HTML documents, their static files, and the data of the operations page."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from service.pages.assets import Assets
from service.pages.sampler import Sampler
from service.pages.snapshot import Operations

PAGES: Mapping[str, str] = {
    "/": "operations.html",
    "/review": "review.html",
    "/docs": "docs.html",
    "/login": "login.html",
}


def make_page_routes(sampler: Sampler, assets: Assets | None = None) -> APIRouter:
    """Make the routes; the app enters `sampler` for its lifespan."""
    router = APIRouter()
    files = assets or Assets()

    async def page(request: Request) -> Response:
        return files.find(PAGES[request.url.path]).answer(request)

    for path in PAGES:
        router.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False, name=PAGES[path])

    @router.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        return files.find(name).answer(request)

    @router.get(
        "/v1/operations", response_model=Operations, summary="Show the state of the service, as on the page `/`"
    )
    async def operations() -> Response:
        return Response(await sampler.show(), headers={"Cache-Control": "no-store"}, media_type="application/json")

    return router
