"""OpenAPI descriptions of endpoints outside FastAPI, and of errors."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from service.errors import ServiceError

TEXT = {"type": "string"}
BINARY = {"type": "string", "format": "binary"}
"""Schemas of bodies that are not JSON."""


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "code": "not_square",
                    "detail": "the image is 640 x 480: crop it to a square portrait",
                    "request_id": "01JDX8Q1V2N4H6T8W0Y2A4C6E8",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


def describe_problems(kinds: Iterable[type[ServiceError]]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of an endpoint, by status."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {kind.status: {"description": inspect.getdoc(kind), "content": content} for kind in kinds}


def describe_files(schemas: Mapping[str, Mapping[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Describe answers with other content than JSON, by Content-Type."""
    return {200: {"content": {kind: {"schema": schema} for kind, schema in schemas.items()}}}


def describe_operation(
    summary: str,
    *,
    parameters: Iterable[Mapping[str, Any]],
    body: Mapping[str, type[BaseModel] | Mapping[str, Any]],
    answer: Mapping[str, type[BaseModel] | Mapping[str, Any]],
    errors: Iterable[type[ServiceError]],
) -> dict[str, Any]:
    """Describe one OpenAPI operation.

    Args:
        summary: one line.
        parameters: those of path, query and header.
        body: schema, or model, by Content-Type.
        answer: schema, or model, of the 200 response, by Content-Type.
        errors: the possible errors.
    """
    content = {kind: {"schema": _schema_of(part, mode="serialization")} for kind, part in answer.items()}
    problems = {str(status): problem for status, problem in describe_problems(errors).items()}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "requestBody": describe_body(body),
        "responses": {
            "200": {"description": "The answer", "content": content},
            **problems,
        },
    }


def describe_body(body: Mapping[str, type[BaseModel] | Mapping[str, Any]], *, required: bool = True) -> dict[str, Any]:
    """Describe the body of a request: a model, or its schema, by Content-Type."""
    return {"required": required, "content": {kind: {"schema": _schema_of(part)} for kind, part in body.items()}}


def _schema_of(
    part: type[BaseModel] | Mapping[str, Any], *, mode: Literal["validation", "serialization"] = "validation"
) -> dict[str, Any]:
    schema: dict[str, Any] = _inline(part if isinstance(part, Mapping) else part.model_json_schema(mode=mode))
    return schema


def _inline(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:
    """Replace the references of a JSON schema by their targets, so that it can be embedded in another document."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    definitions = schema.get("$defs", definitions or {})
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(part, definitions) for key, part in schema.items() if key != "$defs"}
