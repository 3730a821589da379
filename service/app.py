"""Build the app: FastAPI routes, the V2 inference route, access control and telemetry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from service.access.exposure import allowed_hosts
from service.access.limits import RateLimits
from service.access.middleware import Access
from service.access.routes import make_session_routes
from service.access.tokens import open_tokens
from service.api.batch.endpoint import make_batch_routes
from service.api.batch.session import BATCH
from service.api.decisions import DECISIONS, TRIALS, make_decision_routes
from service.api.health import make_probe_routes
from service.api.routes import make_routes
from service.api.site import make_site
from service.api.v2.infer import InferEndpoint
from service.api.v2.routes import make_v2_routes
from service.api.v2.shared_memory import SharedMemoryRegions
from service.api.v2.statistics import Statistics
from service.http.allowed_methods import AllowedMethods, RawRoute
from service.http.body_limits import BodyLimit
from service.http.telemetry import OTHER, RECORD, Telemetry
from service.inference.model_reload import ModelWatch
from service.pages.routes import make_page_routes
from service.pages.sampler import Sampler
from service.periodic import Repeated
from service.process.standard_streams import StreamMetrics
from service.records.routes import make_record_routes
from service.review.metrics import ReviewMetrics
from service.review.refresh import ReviewRefresh
from service.review.routes import make_review_routes
from service.review.served import Served
from service.runtime import Runtime

if TYPE_CHECKING:
    from service.http.tracing import Tracer


def create_app(
    runtime: Runtime,
    *,
    tracer: "Tracer | None" = None,
    watch: ModelWatch | None = None,
    watches: list[Repeated] | None = None,
) -> ASGIApp:
    """Build the app around a runtime. Its lifespan starts and closes the runtime, `watch` and the tracer.

    Everything that watches files is added to `watches`.

    Raises:
        SettingsError: the file of tokens that the settings name is missing or unreadable.
    """
    settings, metrics = runtime.settings, runtime.metrics
    tokens = open_tokens(settings, metrics.registry)
    if watches is not None:
        watches += [watch] if watch else []
        watches += [tokens.watch] if tokens else []
    sampler = Sampler(runtime)
    StreamMetrics(metrics.registry)
    reviews = ReviewMetrics(metrics.registry)
    store, served = runtime.store, partial(_served, runtime)
    regions, statistics = SharedMemoryRegions(enabled=settings.shared_memory), Statistics()
    infer = _make_infer_routes(runtime, regions, statistics)
    routers = [
        make_decision_routes(runtime),
        make_batch_routes(runtime),
        make_routes(runtime),
        make_v2_routes(runtime, regions, statistics),
        make_record_routes(store),
        make_review_routes(store, served=served, metrics=reviews),
        make_page_routes(sampler, store=store),
        make_session_routes(tokens),
        *([make_probe_routes(runtime)] if settings.metrics_port is None else []),
    ]
    metrics.expect_routes([OTHER, RECORD, *_documented(infer, routers)])
    site = make_site(routers, infer)
    bounded = BodyLimit(site, seconds=settings.timeout(None), own_limits={DECISIONS, TRIALS, BATCH})
    methods = AllowedMethods([*infer, *site.routes, *(route for router in routers for route in router.routes)])

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracer is not None:
                stack.push_async_callback(asyncio.to_thread, tracer.close)
            for part in (runtime.place.link, runtime, watch, sampler, ReviewRefresh(store, reviews, served=served)):
                if part is not None:
                    await stack.enter_async_context(part)
            yield

    access = Access(
        Router(infer, redirect_slashes=False, default=bounded, lifespan=lifespan),
        tokens,
        hosts=allowed_hosts(settings),
        on_limit=partial(metrics.observe_shed, "rate_limit"),
        limits=RateLimits(shared=runtime.place.rates),
    )
    return Telemetry(access, metrics=metrics, tracer=tracer, methods=methods, on_failure=runtime.note_failure)


def _served(runtime: Runtime) -> Served:
    return Served.of(runtime.runner.card, runtime.runner.band)


def _make_infer_routes(runtime: Runtime, regions: SharedMemoryRegions, statistics: Statistics) -> list[Route]:
    """Build the routes of V2 inference as plain ASGI apps: small tensors are fast enough to feel FastAPI's share."""
    infer = InferEndpoint(runtime, regions, statistics)
    return [
        RawRoute("/v2/models/{name}/infer", infer, methods=["POST"]),
        RawRoute("/v2/models/{name}/versions/{version}/infer", partial(infer), methods=["POST"]),  # Documented once.
    ]


def _documented(infer: list[Route], routers: list[APIRouter]) -> list[str]:
    """Return the paths of all documented operations; other routes get their series at their first request."""
    routes = [*(route for router in routers for route in router.routes), *infer]
    return [route.path_format for route in routes if isinstance(route, Route | APIRoute) and route.include_in_schema]
