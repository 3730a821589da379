"""Who judges: whom the token or the session names, or, where nobody is asked for one, who they say they are."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field
from starlette.requests import Request

from service.access.identity import principal_of
from service.access.principal import Scope
from service.errors import Forbidden, MalformedRequest


def _printable(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("a name is 1 to 64 printable characters")
    return name.strip()


Name = Annotated[str, Field(min_length=1, max_length=64, description="Who judges"), AfterValidator(_printable)]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Two people of one name are one reviewer, and are shown the same images."""

    name: str
    is_admin: bool = False


def find_reviewer(request: Request, given: str | None) -> Reviewer:
    """The reviewer behind a request; `given` is what it says itself.

    Raises:
        MalformedRequest: it says nothing, and nobody else does.
        Forbidden: it names somebody else than its token.
    """
    principal = principal_of(request)
    if principal.is_anonymous:
        if given is None:
            raise MalformedRequest("reviewer: a verdict needs a name, 1 to 64 printable characters")
        return Reviewer(given)
    if given not in (None, principal.name):
        raise Forbidden(f"you are {principal.name}: leave reviewer out, or log in as somebody else")
    return Reviewer(principal.name, is_admin=principal.may(Scope.ADMIN))
