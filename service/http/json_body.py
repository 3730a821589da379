"""JSON bodies whose objects name each member once: a parser would keep the last value of a repeated one."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator

from service.errors import MalformedRequest
from service.http.query_params import describe_unknown_name, names_of

UNREADABLE = "the body cannot be read: send JSON in UTF-8, uncompressed, with less nesting and shorter numbers"


def read_json(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        MalformedRequest: an object repeats a member, or the text is not UTF-8 or beyond the limits of Python's parser.
    """
    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unique_members)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        raise MalformedRequest(UNREADABLE) from error


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these members.

    Raises:
        MalformedRequest: a member is repeated.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise MalformedRequest(f"{repeated[:64]!r} is repeated in one object of the request: send it once")
    return members


class KnownMembers(BaseModel):
    """A JSON object whose members are all known."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_members(cls, value: object) -> object:
        """Report the first unknown name alone; pydantic would report every one, and there may be 200,000."""
        if isinstance(value, dict) and (unknown := value.keys() - names_of(cls)):
            first = next(name for name in value if name in unknown)
            raise ValueError(describe_unknown_name(first, names_of(cls)))
        return value


class JsonRoute(APIRoute):
    """A route of FastAPI that reads its JSON body by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the handler of FastAPI, with another reader of the body."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        return read_json(await self.body())
