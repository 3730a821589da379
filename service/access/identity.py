"""The caller of a request, as access control found it."""

from starlette.requests import Request

from service.access.principal import ANYBODY, Principal
from service.access.sessions import Session
from service.http.scope_state import request_state


def principal_of(request: Request) -> Principal:
    """Return the caller; without access control every caller is `ANYBODY`."""
    found = request_state(request.scope).principal
    return found if isinstance(found, Principal) else ANYBODY


def session_of(request: Request) -> Session | None:
    """Return the session of a browser; None for a token."""
    found = request_state(request.scope).session
    return found if isinstance(found, Session) else None
