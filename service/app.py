"""Build the app: FastAPI routes, the V2 inference route, access control and telemetry."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from service.access.exposure import allowed_hosts
from service.access.guard import Guard
from service.access.middleware import Access
from service.access.routes import make_session_routes
from service.api.batch.endpoint import make_batch_routes
from service.api.batch.session import BATCH
from service.api.decisions import DECISIONS, TRIALS, make_decision_routes
from service.api.health import make_probe_routes
from service.api.routes import make_routes
from service.api.site import make_site
from service.api.v2.infer import InferEndpoint
from service.api.v2.inference import Inference
from service.api.v2.routes import make_v2_routes
from service.http.allowed_methods import AllowedMethods, RawRoute
from service.http.body_limits import BodyLimit
from service.http.direct_routes import DirectRoutes
from service.http.downloads import Downloads
from service.http.head_requests import HeadAsGet
from service.http.telemetry import OTHER, RECORD, Telemetry
from service.pages.routes import make_page_routes
from service.pages.sampler import Sampler
from service.process.standard_streams import StreamMetrics
from service.records.reader_threads import bounded_reader_threads
from service.records.routes import make_record_routes
from service.review.metrics import ReviewMetrics
from service.review.refresh import ReviewRefresh
from service.review.routes import make_review_routes
from service.review.served import Served
from service.review.source_watch import SourceWatch
from service.review.sources import make_source_routes
from service.runtime import Runtime

if TYPE_CHECKING:
    from service.http.tracing import Tracer


def create_app(
    inference: Inference,
    guard: Guard,
    *,
    tracer: "Tracer | None" = None,
    parts: Iterable[AbstractAsyncContextManager[object] | None] = (),
) -> ASGIApp:
    """Build the app of `inference` and all other endpoints.

    Its lifespan starts and closes the runtime, then those of `parts` that are not None, and the tracer.
    """
    runtime, tokens = inference.runtime, guard.tokens
    settings, metrics = runtime.settings, runtime.metrics
    sampler = Sampler(runtime)
    StreamMetrics(metrics.registry)
    reviews = ReviewMetrics(metrics.registry)
    store, served, downloads = runtime.store, partial(_served, runtime), Downloads()
    infer = _make_infer_routes(inference)
    decisions = make_decision_routes(runtime)
    routers = [
        decisions,
        make_batch_routes(runtime),
        make_routes(runtime),
        make_v2_routes(inference),
        make_record_routes(store, downloads),
        make_review_routes(store, served=served, metrics=reviews, downloads=downloads),
        make_source_routes(store, served=served),
        make_page_routes(sampler, store=store),
        make_session_routes(tokens),
        *([make_probe_routes(runtime)] if settings.metrics_port is None else []),
    ]
    metrics.expect_routes([OTHER, RECORD, *_documented(infer, routers)])
    site = make_site(routers, infer)
    methods = AllowedMethods([*infer, *site.routes, *(route for router in routers for route in router.routes)])
    bounded = BodyLimit(site, methods, seconds=settings.timeout(None), own_limits={DECISIONS, TRIALS, BATCH})

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracer is not None:
                stack.push_async_callback(asyncio.to_thread, tracer.close)
            refresh = ReviewRefresh(store, reviews, served=served)
            sources = SourceWatch(store, metrics.sources, served=served)
            for part in (bounded_reader_threads(), runtime.place.link, runtime, sampler, refresh, sources, *parts):
                if part is not None:
                    await stack.enter_async_context(part)
            yield

    router = Router(infer, redirect_slashes=False, default=bounded, lifespan=lifespan)
    direct = DirectRoutes(router, [route for route in decisions.routes if isinstance(route, APIRoute)])
    access = Access(
        HeadAsGet(direct),
        guard,
        hosts=allowed_hosts(settings),
    )
    return Telemetry(access, metrics=metrics, tracer=tracer, methods=methods, on_failure=runtime.note_failure)


def _served(runtime: Runtime) -> Served:
    return Served.of(runtime.runner.card, runtime.runner.band)


def _make_infer_routes(inference: Inference) -> list[Route]:
    """Build the routes of V2 inference as plain ASGI apps: small tensors are fast enough to feel FastAPI's share."""
    infer = InferEndpoint(inference)
    return [
        RawRoute("/v2/models/{name}/infer", infer, methods=["POST"]),
        RawRoute("/v2/models/{name}/versions/{version}/infer", partial(infer), methods=["POST"]),  # Documented once.
    ]


def _documented(infer: list[Route], routers: list[APIRouter]) -> list[str]:
    """Return the paths of all documented operations; other routes get their series at their first request."""
    routes = [*(route for router in routers for route in router.routes), *infer]
    return [route.path_format for route in routes if isinstance(route, Route | APIRoute) and route.include_in_schema]
