"""The caller of a request, as access control found it."""

from starlette.requests import Request

from service.access.principal import UNRESTRICTED, Principal
from service.access.sessions import Session
from service.http.scope_state import request_state


def principal_of(request: Request) -> Principal:
    """Return the caller; without access control every caller is `UNRESTRICTED`."""
    principal = request_state(request.scope).principal
    return principal if isinstance(principal, Principal) else UNRESTRICTED


def session_of(request: Request) -> Session | None:
    """Return the session of a browser; None for a token."""
    session = request_state(request.scope).session
    return session if isinstance(session, Session) else None
