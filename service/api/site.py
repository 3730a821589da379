"""What is not hot: FastAPI, with the documentation of every endpoint, also of those that it does not see."""

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

from service.errors import ServiceError
from service.http.query_params import check_query
from service.http.telemetry import answer_error

# What FastAPI answers a parameter with that does not fit, and we do not: such an answer is a 400 like any other.
_DEFAULTS = ("HTTPValidationError", "ValidationError")


def make_site(routers: Iterable[APIRouter], endpoints: Sequence[Route]) -> FastAPI:
    """All routers; `endpoints` have an `operation` each, or are not documented."""
    site = FastAPI(
        title="Lensgate",
        summary="The quality gate of a GAN image pipeline",
        # FastAPI's own page loads its scripts from another host; ours, /docs, is one of the pages.
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_query)],
        # Ours knows the stages, takes nothing from the environment, and costs less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in routers:
        site.include_router(router)
    for kind in (ServiceError, HTTPException, RequestValidationError, Exception):
        site.add_exception_handler(kind, answer_error)

    @cache
    def document() -> bytes:
        return orjson.dumps(_describe(site, endpoints))

    # Few ever ask for it, and it took most of a start. Not async: it is made in a thread, while decisions go on.
    @site.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    def openapi() -> Response:
        return Response(document(), media_type="application/json")

    return site


def _describe(site: FastAPI, endpoints: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI document; the endpoints' own `operation` stays as it is."""
    document = get_openapi(title=site.title, version=site.version, summary=site.summary, routes=site.routes)
    for route in endpoints:
        if operation := getattr(route.endpoint, "operation", None):
            document["paths"].setdefault(route.path, {})["post"] = deepcopy(operation)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _name_parts(path, operation)
            _drop_default(operation["responses"])
    for name in _DEFAULTS:
        document["components"]["schemas"].pop(name, None)
    # Not needed where nobody is asked for a token, nor for what is open to all.
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    return document


def _name_parts(path: str, operation: dict[str, Any]) -> None:
    """Document the parts of a path that its endpoint takes from the request itself."""
    parameters = operation.setdefault("parameters", [])
    known = {each["name"] for each in parameters if each["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def _drop_default(answers: dict[str, Any]) -> None:
    """Leave out the answer that FastAPI documents by itself."""
    if _DEFAULTS[0] in str(answers.get("422")):
        del answers["422"]
