"""The paths under `/v2` beside `infer`: health, metadata, statistics, shared memory."""

import json
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.v2.inference import Inference
from service.api.v2.metadata import model_config, model_metadata, repository_entry, server_metadata
from service.api.v2.schemas import RegionRegistration, RepositoryQuery, validate
from service.api.v2.served_model import ServedModel, check_model
from service.api.v2.shared_memory import SharedMemoryRegions
from service.errors import MalformedRequest, NotFound, NotReady
from service.http.json_body import read_json
from service.http.openapi import describe_body, describe_problems
from service.http.request_body import read_small
from service.http.responses import json_response
from service.runtime import Runtime

_SMALL_BODY = 64 * 1024
_SMALL_BODY_SECONDS = 10.0

_Body = TypeVar("_Body", bound=BaseModel)


def make_v2_routes(inference: Inference) -> APIRouter:
    """Make all routes except inference."""
    router = APIRouter(prefix="/v2")
    _add_health(router, inference)
    _add_statistics(router, inference)
    _add_model(router, inference)
    _add_repository(router, inference)
    _add_shared_memory(router, inference.regions)
    _add_refusals(router)
    return router


def _add_health(router: APIRouter, inference: Inference) -> None:
    runtime = inference.runtime

    @router.get("/health/live", responses=describe_problems([NotReady]), summary="200 unless only a restart helps")
    async def live(_: Request) -> Response:
        runtime.check_alive()
        return json_response({"live": True})

    @router.get("/health/ready", responses=describe_problems([NotReady]), summary="200 where requests may be sent")
    async def ready(_: Request) -> Response:
        runtime.check_ready()
        return json_response({"ready": True})

    @router.get(
        "/models/{name}/ready", responses=describe_problems([NotFound, NotReady]), summary="200 where the model answers"
    )
    @router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(request: Request) -> Response:
        model = _model(inference, request)
        runtime.check_ready()
        return json_response({"name": model.name, "ready": True})


def _add_statistics(router: APIRouter, inference: Inference) -> None:
    statistics, metrics = inference.statistics, inference.runtime.metrics

    @router.get("/models/stats", summary="Counts and times of requests and of the model's runs")
    @router.get("/models/{name}/stats", include_in_schema=False)
    @router.get("/models/{name}/versions/{version}/stats", include_in_schema=False)
    async def stats(request: Request) -> Response:
        model = _model(inference, request)
        return json_response({"model_stats": [statistics.describe(model.name, model.version, dict(metrics.runs))]})


def _add_model(router: APIRouter, inference: Inference) -> None:
    @router.get("", summary="Name, version and extensions of the server")
    async def server(_: Request) -> Response:
        return json_response(server_metadata(inference.runtime.settings))

    @router.get("/models/{name}", responses=describe_problems([NotFound]), summary="Inputs and outputs of the model")
    @router.get("/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(request: Request) -> Response:
        return json_response(model_metadata(_model(inference, request)))

    @router.get("/models/{name}/config", responses=describe_problems([NotFound]), summary="The model's configuration")
    @router.get("/models/{name}/versions/{version}/config", include_in_schema=False)
    async def config(request: Request) -> Response:
        return json_response(model_config(_model(inference, request)))


def _add_repository(router: APIRouter, inference: Inference) -> None:
    @router.post(
        "/repository/index",
        summary="The model that is served",
        openapi_extra={"requestBody": describe_body({"application/json": RepositoryQuery}, required=False)},
    )
    async def index(request: Request) -> Response:
        only_ready = (await _read_json(request, RepositoryQuery)).ready
        reason = _why_not_ready(inference.runtime)
        entries = [repository_entry(_model(inference, request), reason)]
        return json_response([] if only_ready and reason else entries)

    @router.post("/repository/models/{name}/load", include_in_schema=False)
    @router.post("/repository/models/{name}/unload", include_in_schema=False)
    async def load(_: Request) -> Response:
        raise MalformedRequest(
            "models are not loaded by request: the file CURRENT in the models folder names the one that is served"
        )


def _add_shared_memory(router: APIRouter, regions: SharedMemoryRegions) -> None:
    @router.get("/systemsharedmemory/status", summary="The registered regions of shared memory")
    @router.get("/systemsharedmemory/region/{region}/status", include_in_schema=False)
    async def status(request: Request) -> Response:
        return json_response(regions.status(request.path_params.get("region")))

    @router.post(
        "/systemsharedmemory/region/{region}/register",
        summary="Register a region of shared memory",
        openapi_extra={"requestBody": describe_body({"application/json": RegionRegistration})},
    )
    async def register(request: Request) -> Response:
        body = await _read_json(request, RegionRegistration)
        regions.register(request.path_params["region"], body.key, offset=body.offset, size=body.byte_size)
        return json_response({})

    @router.post("/systemsharedmemory/unregister", summary="Forget the registered regions")
    @router.post("/systemsharedmemory/region/{region}/unregister", include_in_schema=False)
    async def unregister(request: Request) -> Response:
        regions.unregister(request.path_params.get("region"))
        return json_response({})


def _add_refusals(router: APIRouter) -> None:
    """Refuse unsupported extensions with a reason, which helps more than a 404."""

    def refuse(*paths: str, text: str) -> None:
        async def refused(_: Request) -> Response:
            raise MalformedRequest(text)

        for path in paths:
            router.add_api_route(path, refused, methods=["GET", "POST"], include_in_schema=False, response_model=None)

    refuse(
        "/cudasharedmemory/status",
        "/cudasharedmemory/unregister",
        "/cudasharedmemory/region/{region}/{action}",
        text="CUDA shared memory is not supported: images are decoded and batched on the host",
    )
    refuse(
        "/trace/setting",
        "/models/{name}/trace/setting",
        text="traces are configured when the service starts: LENSGATE_TRACES_ENDPOINT",
    )
    refuse("/logging", text="the log is configured when the service starts: LENSGATE_LOG_LEVEL")


def _model(inference: Inference, request: Request) -> ServedModel:
    """Return the served model; raise NotFound if the path names another one."""
    model = inference.model
    check_model(model, request.path_params)
    return model


def _why_not_ready(runtime: Runtime) -> str | None:
    try:
        runtime.check_ready()
    except NotReady as error:
        return error.detail
    return None


async def _read_json(request: Request, kind: type[_Body]) -> _Body:
    """Read a small JSON body; an empty one is an empty object."""
    body = await read_small(request, limit=_SMALL_BODY, seconds=_SMALL_BODY_SECONDS)
    try:
        return validate(kind, read_json(body) if body else {})
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
