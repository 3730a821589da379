"""The FastAPI app of the less frequent endpoints, with the OpenAPI document of all endpoints."""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Route

from service.access.policy import Open, need_of
from service.api.documentation import name_schemas, order_and_describe
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Forbidden,
    MalformedRequest,
    RateLimited,
    ServiceError,
    Unauthorized,
)
from service.http.openapi import describe_problems
from service.http.query_params import check_query
from service.http.telemetry import answer_error

# FastAPI documents invalid parameters as 422 with these schemas; this service responds with 400.
_DEFAULTS = ("HTTPValidationError", "ValidationError")


def make_site(routers: Iterable[APIRouter], endpoints: Sequence[Route]) -> FastAPI:
    """Make the app of all routers; `endpoints` with an `operation` are documented as well."""
    site = FastAPI(
        title="Lensgate",
        summary="The quality gate of a GAN image pipeline",
        generate_unique_id_function=lambda route: route.name,
        # FastAPI's own page loads scripts from another host; /docs is one of this service's pages.
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_query)],
        # The service has its own telemetry, which covers the stages and costs less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in routers:
        site.include_router(router)
    for kind in (ServiceError, HTTPException, RequestValidationError, Exception):
        site.add_exception_handler(kind, answer_error)

    @cache
    def document() -> bytes:
        return orjson.dumps(_describe(site, endpoints))

    # Rarely requested and slow to build, so built on demand; not async, so built in a worker thread.
    @site.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return Response(document(), media_type="application/json")

    return site


def _describe(site: FastAPI, endpoints: Sequence[Route]) -> dict[str, Any]:
    """Build the OpenAPI document with the `operation` of each endpoint."""
    document = get_openapi(title=site.title, version=site.version, summary=site.summary, routes=site.routes)
    for route in endpoints:
        if operation := getattr(route.endpoint, "operation", None):
            document["paths"].setdefault(route.path, {})["post"] = deepcopy(operation)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _name_parts(path, operation)
            _drop_default(operation["responses"])
            _describe_refusals(method, path, operation)
    for name in _DEFAULTS:
        document["components"]["schemas"].pop(name, None)
    order_and_describe(document)
    name_schemas(document)
    # Optional: authentication may be off.
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    return document


def _name_parts(path: str, operation: dict[str, Any]) -> None:
    """Document path parameters that the endpoint reads from the request itself."""
    parameters = operation.setdefault("parameters", [])
    known = {each["name"] for each in parameters if each["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def _describe_refusals(method: str, path: str, operation: dict[str, Any]) -> None:
    """Add the errors that precede the endpoint: of access, of names in the query, and of a small body."""
    problems: list[type[ServiceError]] = []
    if need_of(method.upper(), path) is Open.TO_ALL:
        operation["security"] = []
    else:
        problems += [MalformedRequest, Unauthorized, Forbidden, RateLimited]
    if "application/json" in operation.get("requestBody", {}).get("content", ()):
        problems += [BodyTooSlow, BodyTooLarge]
    for status, problem in describe_problems(problems).items():
        operation["responses"].setdefault(str(status), problem)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _drop_default(answers: dict[str, Any]) -> None:
    """Remove the 422 response that FastAPI adds."""
    if _DEFAULTS[0] in str(answers.get("422")):
        del answers["422"]
