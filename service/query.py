"""The query of a request, checked by a pydantic model."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.errors import MalformedRequest

_Query = TypeVar("_Query", bound=BaseModel)


def read_query(request: Request, kind: type[_Query]) -> _Query:
    """The query as `kind`; of a key that stands there twice the last counts.

    Raises:
        MalformedRequest: a value does not fit; the text names its key.
    """
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise MalformedRequest(describe_faults(error.errors())) from error


def describe_faults(faults: Iterable[Mapping[str, Any]]) -> str:
    """What pydantic finds, each with the name of the value at fault; what is between two values names both itself."""
    return "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" if len(fault["loc"]) else fault["msg"] for fault in faults)
