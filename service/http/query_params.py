"""Query strings: only known names, one value each, validated by a pydantic model."""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request

from gate.validation import explain
from service.errors import MalformedRequest
from service.http.percent_encoding import is_utf8

# Pages accept extra names from links, probes those that load balancers add. Neither can contain `expected`.
_CHECKED = ("/v1/", "/v2")
_PROBES = "/v2/health/"

# What other separators than & would begin: a parser takes it for a part of the value before it.
_WITHIN_VALUE = re.compile(rb"[?;](\w+)=")


async def check_query(request: Request) -> None:
    """Check the query of a FastAPI route: every name must be declared by its endpoint.

    Raises:
        MalformedRequest: a name is unknown or has two values.
    """
    route = request.scope.get("route")
    path: str = request.scope["path"]
    if not request.scope["query_string"] or not path.startswith(_CHECKED) or path.startswith(_PROBES):
        return
    if isinstance(route, APIRoute):
        check_names(request, _declared(route))


def check_names(request: Request, known: Iterable[str]) -> None:
    """Raise MalformedRequest for a name that is not `known`, is part of a value, or has two values."""
    if not (query := request.scope["query_string"]):
        return
    _check_encoding(query)
    _check_separators(query, known)
    seen: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise MalformedRequest(f"the query: {describe_unknown_name(name, known)}")
        if seen.setdefault(name, value) != value:
            raise MalformedRequest(f"the query: {name} has two values, send one")


def describe_unknown_name(name: str, known: Iterable[str]) -> str:
    """Name the accepted names, and the one that was probably meant."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:64].lower(), names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown name {name[:64]!r}{hint} accepted: {', '.join(names) or 'none'}"


@cache
def names_of(kind: type[BaseModel]) -> frozenset[str]:
    """Return the names under which a model reads its fields."""
    return frozenset(field.alias or name for name, field in kind.model_fields.items())


def describe_faults(faults: Iterable[Mapping[str, Any]]) -> str:
    """Describe pydantic's errors with the names of the values at fault."""
    return "; ".join(map(_describe, faults))


def _check_encoding(query: bytes) -> None:
    """Raise MalformedRequest for text that is not percent-encoded UTF-8: parsing would silently alter an id."""
    if not is_utf8(query):
        raise MalformedRequest(
            "the query must be percent-encoded UTF-8, such as id=caf%C3%A9: curl --url-query id=NAME writes it"
        )


def _check_separators(query: bytes, known: Iterable[str]) -> None:
    """Raise MalformedRequest for a known name within a value: the order of `id=a?expected=glasses` would be lost."""
    for match in _WITHIN_VALUE.finditer(query):
        if (name := match[1].decode()) in known:
            raise MalformedRequest(
                f"the query: {name} is part of the value before it: write & before each name after the first, and %3F "
                "or %3B for a ? or ; of a value"
            )


def _describe(fault: Mapping[str, Any]) -> str:
    place = tuple(fault["loc"])
    match fault["type"]:
        case "json_invalid":
            return f"the body is not JSON: {fault['ctx']['error']} at character {place[-1]}"
        case "missing" | "model_attributes_type" if place == ("body",):
            # FastAPI reads a body of another Content-Type as bytes.
            return "the body must be a JSON object, sent with Content-Type: application/json"
        case "datetime_from_date_parsing" | "datetime_parsing" if " " in str(fault["input"]):
            text = f"{explain(fault)}; in a query, write the + of a time zone as %2B"
        case _:
            text = explain(fault)
    return f"{place[-1]}: {text}" if place else text


def _declared(route: APIRoute) -> frozenset[str]:
    names: set[str] = set()
    for parameter in route.dependant.query_params:
        kind: object = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= names_of(kind)
        else:
            names.add(parameter.alias)
    return frozenset(names)
