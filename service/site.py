"""What is not hot: FastAPI, with the documentation of every endpoint, also of those that it does not see."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Route

from service.errors import ServiceError
from service.telemetry import answer_error


def make_site(routers: Iterable[APIRouter], endpoints: Sequence[Route]) -> FastAPI:
    """All routers; `endpoints` have an `operation` each, or are not documented."""
    site = FastAPI(
        title="Lensgate",
        summary="The quality gate of a GAN image pipeline",
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
        # Ours knows the stages, takes nothing from the environment, and costs less.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in routers:
        site.include_router(router)
    for kind in (ServiceError, HTTPException, RequestValidationError):
        site.add_exception_handler(kind, answer_error)
    document = get_openapi(title=site.title, version=site.version, summary=site.summary, routes=site.routes)
    for route in endpoints:
        if operation := getattr(route.endpoint, "operation", None):
            document["paths"].setdefault(route.path, {})["post"] = operation
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _name_parts(path, operation)
    # Not needed where nobody is asked for a token, nor for what is open to all.
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    site.openapi = lambda: document  # type: ignore[method-assign]  # The way that FastAPI documents.
    return site


def _name_parts(path: str, operation: dict[str, Any]) -> None:
    """Document the parts of a path that its endpoint takes from the request itself."""
    parameters = operation.setdefault("parameters", [])
    known = {each["name"] for each in parameters if each["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
