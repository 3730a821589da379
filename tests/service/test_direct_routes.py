"""Routes that are called without FastAPI's layers answer as they would through them."""

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from service.api.decisions import DecisionQuery
from service.api.site import make_site
from service.errors import Overloaded, ServiceError, Unauthorized
from service.http.allowed_methods import AllowedMethods
from service.http.direct_routes import DirectRoutes
from service.http.responses import json_response
from service.http.telemetry import Telemetry
from service.metrics.decisions import Metrics
from service.paths import DECISIONS, TRIALS

QUERIES = [
    "",
    "expected=glasses",
    "expected=no_glasses&id=a&source=b&timeout_ms=5",
    "expected=Glasses",
    "expected=",
    "expected=glasses&expected=glasses",
    "expected=glasses&expected=no_glasses",
    "timeout_ms=0",
    "timeout_ms=1.5",
    "timeout_ms=",
    "timeout_ms=+7",
    "timeout_ms=%207",
    "timeout_ms=99999999999999999999999",
    "timeout_ms=x&expected=y",
    "id=",
    "id=caf%C3%A9",
    "id=%ff",
    "id=a%00b",
    "id=" + "x" * 300,
    "identity=a",
    "source=a+b",
    "source",
    "expeted=glasses",
    "&&=&",
    "id=a&&",
]


def make_router(fault: ServiceError | None = None) -> APIRouter:
    """Routes with the queries of `/v1/decisions`, which answer the query as they read it."""
    router = APIRouter()

    @router.post(DECISIONS)
    async def decide(request: Request, query: Annotated[DecisionQuery, Query()]) -> Response:
        if fault is not None:
            raise fault
        return json_response({"query": repr(query), "body": (await request.body()).decode()})

    @router.post(TRIALS)
    async def break_down(request: Request, query: Annotated[DecisionQuery, Query()]) -> Response:
        raise RuntimeError(f"{request.url} {query}")

    return router


def both(router: APIRouter) -> list[ASGIApp]:
    """The app with and without its direct routes, with the layer that answers errors around it."""
    site = make_site([router], [])
    direct = DirectRoutes(site, [route for route in router.routes if isinstance(route, APIRoute)])
    methods = AllowedMethods(router.routes)
    return [Telemetry(app, Metrics(CollectorRegistry()), methods=methods) for app in (site, direct)]


def ask(app: ASGIApp, method: str, url: str, content: bytes = b"") -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
            return await client.request(method, url, headers={"X-Request-ID": "1"}, content=content)

    return asyncio.run(send())


def answers(router: APIRouter, url: str) -> list[tuple[int, str, Any]]:
    found = [ask(app, "POST", url, b"image") for app in both(router)]
    return [(answer.status_code, answer.headers["content-type"], answer.json()) for answer in found]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_read_alike(query: str) -> None:
    through, direct = answers(make_router(), f"{DECISIONS}?{query}")
    assert direct == through
    assert direct[0] in (200, 400)


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"])
def test_other_methods_are_left_to_the_app(method: str) -> None:
    assert [ask(app, method, DECISIONS).status_code for app in both(make_router())] == [405, 405]


def test_errors_are_answered_alike() -> None:
    refused = Overloaded("too much: try again in 3 s", reason="images", retry_after=3)
    through, direct = answers(make_router(refused), DECISIONS)
    assert direct == through
    assert direct[:2] == (429, "application/problem+json")
    through, direct = answers(make_router(), TRIALS)
    assert direct == through
    assert direct[0] == 500


def test_the_route_is_the_label_of_the_metrics() -> None:
    registry, router = CollectorRegistry(), make_router()
    direct = DirectRoutes(make_site([router], []), [one for one in router.routes if isinstance(one, APIRoute)])
    ask(Telemetry(direct, Metrics(registry), methods=AllowedMethods(router.routes)), "POST", DECISIONS)
    assert registry.get_sample_value("lensgate_requests_total", {"route": DECISIONS, "status": "200"}) == 1


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", DECISIONS, DECISIONS),
        ("GET", DECISIONS, f"GET {DECISIONS}"),
        ("PUT", DECISIONS, f"GET {DECISIONS}"),
        ("GET", f"{DECISIONS}/a.png", f"{DECISIONS}/{{name}}"),
        ("POST", f"{DECISIONS}/batch", f"{DECISIONS}/batch"),
        ("GET", f"{DECISIONS}/batch", f"{DECISIONS}/{{name}}"),
        ("GET", "/v1/unknown", "other"),
    ],
)
def test_a_request_that_is_refused_before_the_router_has_its_label(method: str, path: str, route: str) -> None:
    async def refuse(*_: object) -> None:
        raise Unauthorized("no token")

    async def answer() -> None:
        pass

    registry, router = CollectorRegistry(), make_router()
    router.add_api_route(f"{DECISIONS}/{{name}}", answer, methods=["GET"])
    router.add_api_route(f"{DECISIONS}/batch", answer, methods=["POST"])
    ask(Telemetry(refuse, Metrics(registry), methods=AllowedMethods(router.routes)), method, path)
    assert registry.get_sample_value("lensgate_requests_total", {"route": route, "status": "401"}) == 1


def test_a_route_without_one_model_of_its_query_is_refused() -> None:
    router = APIRouter()

    @router.post("/v1/other")
    async def other(expected: str) -> str:
        return expected

    with pytest.raises(TypeError, match="/v1/other needs one model"):
        DirectRoutes(make_site([router], []), [one for one in router.routes if isinstance(one, APIRoute)])
