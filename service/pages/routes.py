"""Routes of the pages: the HTML documents, their static files, and the data of the operations page."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from service.errors import MalformedRequest, NotFound, RecordsUnavailable
from service.http.openapi import describe_problems
from service.pages.assets import Assets
from service.pages.sampler import Sampler
from service.pages.snapshot import Operations
from service.records.outcomes import HistoryReader, OperationsHistory, Window
from service.records.path_parameters import NAME
from service.records.query import find_one
from service.records.store import Store, require_store

PAGES: Mapping[str, str] = {
    "/": "operations.html",
    "/decisions": "decisions.html",
    "/review": "review.html",
    "/docs": "docs.html",
    "/login": "login.html",
}


def make_page_routes(sampler: Sampler, *, store: Store | None = None) -> APIRouter:
    """Make the routes; the app enters `sampler` for its lifespan. `store` knows which decisions have a page."""
    router = APIRouter()
    files = Assets()

    async def page(request: Request) -> Response:
        return files.find(PAGES[request.url.path]).answer(request)

    for path in PAGES:
        router.add_api_route(path, page, methods=["GET"], include_in_schema=False, name=PAGES[path])

    @router.get(f"/decisions/{NAME}", include_in_schema=False)
    def decision(name: str, request: Request) -> Response:
        return files.find("decision.html").answer(request, status=_status_of(store, name))

    @router.get("/static/{name}", include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        return files.find(name).answer(request)

    @router.get(
        "/v1/operations", response_model=Operations, summary="Show the state of the service, as on the page `/`"
    )
    async def operations() -> Response:
        return Response(await sampler.show(), media_type="application/json")

    history = HistoryReader()

    @router.get(
        "/v1/operations/history",
        response_model=OperationsHistory,
        summary="Show decisions and failed requests over time, from the records",
        responses=describe_problems([MalformedRequest, NotFound, RecordsUnavailable]),
    )
    def operations_history(window: Window = Window.QUARTER) -> Response:
        body = history.show(require_store(store), window)
        return Response(body, media_type="application/json")

    return router


def _status_of(store: Store | None, name: str) -> int:
    """Return the status of the page of a decision; the page itself explains the problem."""
    try:
        find_one(require_store(store), name)
    except (NotFound, RecordsUnavailable) as error:
        return error.status
    return HTTPStatus.OK
