"""Build the app: FastAPI routes, the V2 inference route, access control and telemetry."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
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
from service.access.tokens import TokenFile
from service.api.batch.endpoint import make_batch_routes
from service.api.decisions import make_decision_routes
from service.api.health import make_probe_routes
from service.api.routes import make_model_routes
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
from service.paths import BATCH, DECISIONS, INFER, INFER_VERSION, TRIALS
from service.process.standard_streams import StreamMetrics
from service.records.reader_threads import bounded_reader_threads
from service.records.routes import make_record_routes
from service.review.metrics import ReviewMetrics
from service.review.refresh import ReviewRefresh
from service.review.routes import make_review_routes
from service.review.served_version import ServedVersion
from service.review.source_routes import make_source_routes
from service.review.source_watch import SourceWatch
from service.runtime import Runtime

if TYPE_CHECKING:
    from service.http.tracing import Tracer


def create_app(
    inference: Inference,
    guard: Guard,
    *,
    tracer: "Tracer | None",
    parts: Iterable[AbstractAsyncContextManager[object] | None],
) -> ASGIApp:
    """Build the app of `inference` and all other endpoints.

    Its lifespan starts and closes the runtime, then those of `parts` that are not None, and the tracer.
    """
    runtime = inference.runtime
    store, metrics = runtime.store, runtime.metrics
    StreamMetrics(metrics.registry)
    reviews = ReviewMetrics(metrics.registry)
    sampler, served = Sampler(runtime), partial(_served, runtime)
    infer = _make_infer_routes(inference)
    decisions = make_decision_routes(runtime)
    others = _make_other_routers(inference, guard.tokens, sampler=sampler, reviews=reviews, served=served)
    routers = [decisions, *others]
    metrics.expect_routes([OTHER, RECORD, *_documented(infer, routers)])
    background = [
        bounded_reader_threads(),
        runtime.worker.link,
        runtime,
        sampler,
        ReviewRefresh(store, reviews, served=served),
        SourceWatch(store, metrics.sources, served=served),
        *parts,
    ]
    site = make_site(routers, infer)
    methods = AllowedMethods([*infer, *site.routes, *(route for router in routers for route in router.routes)])
    bounded = BodyLimit(site, methods, seconds=runtime.settings.timeout(None), own_limits={DECISIONS, TRIALS, BATCH})
    router = Router(infer, redirect_slashes=False, default=bounded, lifespan=_lifespan(background, tracer))
    direct = DirectRoutes(router, [route for route in decisions.routes if isinstance(route, APIRoute)])
    access = Access(HeadAsGet(direct), guard, hosts=allowed_hosts(runtime.settings))
    return Telemetry(access, metrics=metrics, tracer=tracer, methods=methods, on_failure=runtime.note_failure)


def _make_other_routers(
    inference: Inference,
    tokens: TokenFile | None,
    *,
    sampler: Sampler,
    reviews: ReviewMetrics,
    served: Callable[[], ServedVersion],
) -> list[APIRouter]:
    """Make the routes of all endpoints but those of one image and of V2 inference."""
    runtime = inference.runtime
    store, downloads = runtime.store, Downloads()
    return [
        make_batch_routes(runtime),
        make_model_routes(runtime),
        make_v2_routes(inference),
        make_record_routes(store, downloads),
        make_review_routes(store, served=served, metrics=reviews, downloads=downloads),
        make_source_routes(store, served=served),
        make_page_routes(sampler, store=store),
        make_session_routes(tokens),
        *([make_probe_routes(runtime)] if runtime.settings.metrics_port is None else []),
    ]


def _lifespan(
    parts: Sequence[AbstractAsyncContextManager[object] | None], tracer: "Tracer | None"
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Return a lifespan that enters the parts in their order; the tracer is closed last."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracer is not None:
                stack.push_async_callback(asyncio.to_thread, tracer.close)
            for part in parts:
                if part is not None:
                    await stack.enter_async_context(part)
            yield

    return lifespan


def _served(runtime: Runtime) -> ServedVersion:
    return ServedVersion.of(runtime.runner.card, runtime.runner.band)


def _make_infer_routes(inference: Inference) -> list[Route]:
    """Build the routes of V2 inference as plain ASGI apps: small tensors are fast enough to feel FastAPI's share."""
    infer = InferEndpoint(inference)
    return [
        RawRoute(INFER, infer, methods=["POST"]),
        RawRoute(INFER_VERSION, partial(infer), methods=["POST"]),  # Documented once.
    ]


def _documented(infer: list[Route], routers: list[APIRouter]) -> list[str]:
    """Return the paths of all documented operations; other routes get their series at their first request."""
    routes = [*(route for router in routers for route in router.routes), *infer]
    return [route.path_format for route in routes if isinstance(route, Route | APIRoute) and route.include_in_schema]
