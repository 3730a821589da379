"""The app, wired: the endpoints that images come in by, FastAPI behind them, telemetry round both."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from service.decisions import Decisions
from service.engine import Loaded
from service.errors import ServiceError
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.records.recorder import Recorder
from service.records.routes import make_record_routes
from service.records.store import Store
from service.records.writing import Limits
from service.routes import make_routes
from service.settings import Settings
from service.streams.routes import Batch
from service.telemetry import OTHER, Telemetry, answer_error
from service.v2.infer import Infer
from service.v2.routes import make_v2_routes
from service.v2.shared_memory import Regions
from service.v2.statistics import Statistics
from service.watching import ModelWatch

if TYPE_CHECKING:
    from service.tracing import Tracer


def create_pipeline(
    settings: Settings, loaded: Loaded, *, shadow: Loaded | None = None, registry: CollectorRegistry | None = None
) -> Pipeline:
    """A running pipeline for one model and its shadow, with metrics in `registry` or in one of its own.

    Raises:
        SettingsError: the settings name no store that decisions could be kept in.
    """
    metrics = Metrics(registry or CollectorRegistry())
    return Pipeline(settings, loaded, metrics=metrics, shadow=shadow, make_recorder=_recorder_maker(settings, metrics))


def _recorder_maker(settings: Settings, metrics: Metrics) -> Callable[[Callable[[], bool]], Recorder] | None:
    if settings.records_url == "off":
        return None
    limits = Limits(settings.records_max_rows, settings.records_max_days, settings.records_max_image_bytes)
    store = Store(settings.records_url)
    return lambda is_busy: Recorder(
        store, metrics.records, limits=limits, max_pixels=settings.max_pixels, is_busy=is_busy
    )


def create_app(pipeline: Pipeline, *, tracer: "Tracer | None" = None, watch: ModelWatch | None = None) -> ASGIApp:
    """The app around a pipeline and a tracer, which it closes when it ends; `watch` runs for as long."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with watch or nullcontext():
            yield
        pipeline.close()
        if tracer is not None:
            tracer.close()

    regions = Regions(enabled=pipeline.settings.shared_memory)
    statistics = Statistics()
    infer = Infer(pipeline, regions, statistics)
    # Endpoints with an `operation` for the documentation; each is an ASGI app of its own.
    endpoints = [
        Route("/v1/decisions", Decisions(pipeline), methods=["POST"]),
        Route("/v1/decisions/batch", Batch(pipeline), methods=["POST"]),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/v2/models/{name}/versions/{version}/infer", partial(infer), methods=["POST"]),  # Documented once.
    ]
    store = pipeline.recorder.store if pipeline.recorder else None
    operations = [make_routes(pipeline), make_v2_routes(pipeline, regions, statistics), make_record_routes(store)]
    site = _make_site([*endpoints], operations)
    # The same path with another method: the router would answer that there is none.
    endpoints.append(Route("/v1/decisions", site, methods=["GET"]))
    routes = [*endpoints, *(route for router in operations for route in router.routes)]
    # What is not documented, refusals and second spellings, makes its series when it is first asked for.
    paths = [route.path for route in routes if isinstance(route, Route | APIRoute) and route.include_in_schema]
    pipeline.metrics.expect_routes([OTHER, *paths])
    return Telemetry(
        Router(endpoints, redirect_slashes=False, default=site, lifespan=lifespan),
        metrics=pipeline.metrics,
        tracer=tracer,
    )


def _make_site(endpoints: list[Route], operations: Iterable[APIRouter]) -> FastAPI:
    """What is not hot: FastAPI, with the documentation of everything."""
    site = FastAPI(
        title="Lensgate",
        summary="The quality gate of a GAN image pipeline",
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
        # Ours knows the stages, takes nothing from the environment, and costs less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in operations:
        site.include_router(router)
    for kind in (ServiceError, HTTPException, RequestValidationError):
        site.add_exception_handler(kind, answer_error)
    document = get_openapi(title=site.title, version=site.version, summary=site.summary, routes=site.routes)
    for route in endpoints:
        if operation := getattr(route.endpoint, "operation", None):
            document["paths"].setdefault(route.path, {})["post"] = operation
    site.openapi = lambda: document  # type: ignore[method-assign]  # The way that FastAPI documents.
    return site
