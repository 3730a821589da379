"""The FastAPI app, wired: routes, error answers, telemetry and the end of the pipeline."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.engine import Loaded
from service.errors import MalformedRequest, MethodNotAllowed, NotFound, ServiceError
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.routes import make_routes
from service.settings import Settings
from service.telemetry import OTHER, Telemetry, problem_response

if TYPE_CHECKING:
    from service.tracing import Tracer


def create_pipeline(settings: Settings, loaded: Loaded, *, registry: CollectorRegistry | None = None) -> Pipeline:
    """A running pipeline for one model, with metrics in `registry` or in one of its own."""
    return Pipeline(settings, loaded, metrics=Metrics(registry or CollectorRegistry()))


def create_app(pipeline: Pipeline, *, tracer: "Tracer | None" = None) -> FastAPI:
    """The app around a pipeline and a tracer, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pipeline.close()
        if tracer is not None:
            tracer.close()

    app = FastAPI(
        title="Lensgate",
        summary="The quality gate of a GAN image pipeline",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
        # Ours knows the stages, takes nothing from the environment, and costs less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    routes = make_routes(pipeline)
    app.include_router(routes)
    app.add_middleware(Telemetry, metrics=pipeline.metrics, tracer=tracer)
    for kind in (ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
    pipeline.metrics.expect_routes([OTHER, *(route.path for route in routes.routes if isinstance(route, APIRoute))])
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    return problem_response(_translate(error), request.state.request_id)


def _translate(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return MalformedRequest("; ".join(faults))
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound("there is nothing at this path: /docs lists what there is")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed("this path has no such method: see Allow", headers=dict(error.headers or {}))
    return MalformedRequest(str(error))
