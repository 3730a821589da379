"""The query of a request, checked by a pydantic model."""

from typing import TypeVar

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
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        raise MalformedRequest("; ".join(faults)) from error
