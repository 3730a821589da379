"""The app, wired: the endpoints that images come in by, the site behind them, access and telemetry round both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from service.access.exposure import allowed_hosts
from service.access.middleware import Access
from service.access.routes import make_session_routes
from service.access.tokens import open_tokens
from service.api.batch.endpoint import Batch
from service.api.decisions import Decisions
from service.api.health import make_probe_routes
from service.api.routes import make_routes
from service.api.site import make_site
from service.api.v2.infer import Infer
from service.api.v2.routes import make_v2_routes
from service.api.v2.shared_memory import Regions
from service.api.v2.statistics import Statistics
from service.http.allowed_methods import Methods
from service.http.body_limits import SmallBodies
from service.http.telemetry import OTHER, RECORD, Telemetry
from service.inference.model_reload import ModelWatch
from service.inference.model_runner import Loaded
from service.inference.pipeline import Pipeline
from service.metrics.decisions import Metrics
from service.pages.routes import make_page_routes
from service.pages.sampler import Sampler
from service.periodic import Repeated
from service.process.standard_streams import StreamMetrics
from service.records.routes import make_record_routes
from service.records.store import Store
from service.review.audit import Served
from service.review.metrics import ReviewMetrics
from service.review.refresh import ReviewRefresh
from service.review.routes import make_review_routes
from service.settings import Settings

if TYPE_CHECKING:
    from service.http.tracing import Tracer


def create_pipeline(
    settings: Settings, loaded: Loaded, *, shadow: Loaded | None = None, registry: CollectorRegistry | None = None
) -> Pipeline:
    """A running pipeline for one model and its shadow, with metrics in `registry` or in one of its own.

    Raises:
        SettingsError: the settings name no store that decisions could be kept in.
    """
    store = None if settings.records_url == "off" else Store(settings.records_url)
    metrics = Metrics(registry or CollectorRegistry())
    return Pipeline(settings, loaded, metrics=metrics, shadow=shadow, store=store)


def create_app(
    pipeline: Pipeline,
    *,
    tracer: "Tracer | None" = None,
    watch: ModelWatch | None = None,
    watches: list[Repeated] | None = None,
) -> ASGIApp:
    """The app around a pipeline and a tracer, which it closes when it ends; `watch` runs for as long.

    What looks for changed files is added to `watches`.

    Raises:
        SettingsError: there is no file of tokens where the settings name one, or it cannot be read.
    """
    settings, metrics = pipeline.settings, pipeline.metrics
    tokens = open_tokens(settings, metrics.registry)
    if watches is not None:
        watches += [watch] if watch else []
        watches += [tokens.watch] if tokens else []
    sampler = Sampler(pipeline)
    StreamMetrics(metrics.registry)
    reviews = ReviewMetrics(metrics.registry)
    store = pipeline.recorder.store if pipeline.recorder else None
    served = partial(_served, pipeline)
    regions, statistics = Regions(enabled=settings.shared_memory), Statistics()
    endpoints = _make_endpoints(pipeline, regions, statistics)
    routers = [
        make_routes(pipeline),
        make_v2_routes(pipeline, regions, statistics),
        make_record_routes(store),
        make_review_routes(store, served=served, metrics=reviews),
        make_page_routes(sampler),
        make_session_routes(tokens),
        *([make_probe_routes(pipeline)] if settings.metrics_port is None else []),
    ]
    metrics.expect_routes([OTHER, RECORD, *_documented(endpoints, routers)])
    pages = make_site(routers, endpoints)
    site = SmallBodies(pages, seconds=settings.timeout(None))
    methods = Methods(
        [*pages.routes, *(route for router in routers for route in router.routes)],
        first=endpoints,
        shared={"/v1/decisions"},
    )
    # The same path with another method: the router would answer that there is none.
    endpoints.append(Route("/v1/decisions", site, methods=["GET"]))

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for beside in (watch, sampler, ReviewRefresh(store, reviews, served=served)):
                if beside is not None:
                    await stack.enter_async_context(beside)
            yield
        pipeline.close()
        if tracer is not None:
            tracer.close()

    access = Access(
        Router(endpoints, redirect_slashes=False, default=site, lifespan=lifespan),
        tokens,
        hosts=allowed_hosts(settings),
        on_limit=partial(metrics.observe_shed, "rate_limit"),
    )
    return Telemetry(access, metrics=metrics, tracer=tracer, methods=methods)


def _served(pipeline: Pipeline) -> Served:
    return Served.of(pipeline.engine.card, pipeline.engine.band)


def _make_endpoints(pipeline: Pipeline, regions: Regions, statistics: Statistics) -> list[Route]:
    """What images come in by, with an `operation` for the documentation; each is an ASGI app of its own."""
    infer = Infer(pipeline, regions, statistics)
    return [
        Route("/v1/decisions", Decisions(pipeline), methods=["POST"]),
        Route("/v1/decisions/batch", Batch(pipeline), methods=["POST"]),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/v2/models/{name}/versions/{version}/infer", partial(infer), methods=["POST"]),  # Documented once.
    ]


def _documented(endpoints: list[Route], routers: list[APIRouter]) -> list[str]:
    """The paths of all operations; refusals and second spellings make their series when they are first asked for."""
    routes = [*endpoints, *(route for router in routers for route in router.routes)]
    return [route.path for route in routes if isinstance(route, Route | APIRoute) and route.include_in_schema]
