"""The paths of the pages: four documents, what they load, and the numbers behind the first of them."""

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
    """All of them; `sampler` is entered for as long as the app lives."""
    router = APIRouter()
    files = assets or Assets()

    async def page(request: Request) -> Response:
        return files.find(PAGES[request.url.path]).answer(request)

    for path in PAGES:
        router.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False, name=PAGES[path])

    @router.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        return files.find(name).answer(request)

    @router.get("/v1/operations", response_model=Operations, summary="One look at the service, as `/` shows it")
    async def operations() -> Response:
        return Response(sampler.show(), headers={"Cache-Control": "no-store"}, media_type="application/json")

    return router
