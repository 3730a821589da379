"""The reviewer: named by the token or session, or by the request while authentication is off."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field
from starlette.requests import Request

from service.access.identity import principal_of
from service.access.principal import Scope
from service.errors import Forbidden, MalformedRequest


def _printable(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("must be 1 to 64 printable characters")
    return name.strip()


Name = Annotated[
    str, Field(min_length=1, max_length=64, description="Name of the reviewer"), AfterValidator(_printable)
]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A reviewer, identified by name: people with the same name see the same images."""

    name: str
    is_admin: bool = False


def find_reviewer(request: Request, name: str | None) -> Reviewer:
    """Return the reviewer of a request; `name` is the one in the request.

    Raises:
        MalformedRequest: neither token nor request names a reviewer.
        Forbidden: the request names another reviewer than its token.
    """
    principal = principal_of(request)
    if principal.is_anonymous:
        if name is None:
            raise MalformedRequest("reviewer: required without tokens, 1 to 64 printable characters")
        return Reviewer(name)
    if name not in (None, principal.name):
        raise Forbidden(f"reviewer must be {principal.name}, the name of the token, or be omitted")
    return Reviewer(principal.name, is_admin=principal.may(Scope.ADMIN))
