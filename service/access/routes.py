"""`/v1/session`: a browser exchanges its token for a session cookie."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.access.identity import principal_of, session_of
from service.access.principal import Principal, Scope
from service.access.sessions import Session, clear_cookie, open_session, set_cookie
from service.access.tokens import Token, TokenFile
from service.errors import Conflict, Forbidden, MalformedRequest, Unauthorized
from service.http.json_body import read_json
from service.http.openapi import describe_problems
from service.http.request_body import read_small

_MAX_BODY = 4096
_SECONDS = 5.0


class Login(BaseModel):
    """The body of a login."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=512)]


class SessionAnswer(BaseModel):
    """The caller; `csrf` is the value for X-CSRF-Token, null without a session."""

    access: Literal["on", "off"]
    name: str
    scopes: list[Scope]
    csrf: str | None


def make_session_routes(tokens: TokenFile | None) -> APIRouter:
    """Make the routes for these tokens; None turns authentication off."""
    router = APIRouter()
    body = {"required": True, "content": {"application/json": {"schema": Login.model_json_schema()}}}

    @router.head("/v1/session", include_in_schema=False)
    @router.get("/v1/session", responses=describe_problems([Unauthorized]), summary="Show the current session")
    async def show(request: Request) -> SessionAnswer:
        return _describe(principal_of(request), session_of(request), is_on=tokens is not None)

    @router.post(
        "/v1/session",
        responses=describe_problems([MalformedRequest, Unauthorized, Forbidden, Conflict]),
        openapi_extra={"requestBody": body},
        summary="Log in and set the session cookie",
    )
    async def log_in(request: Request, response: Response) -> SessionAnswer:
        if tokens is None:
            raise Conflict("authentication is off (LENSGATE_TOKENS is not set): requests need no session")
        token = _find(await _read_login(request), tokens)
        session = open_session(token, now=tokens.now())
        response.headers["Set-Cookie"] = set_cookie(session, host=_host(request), is_secure=_is_secure(request))
        return _describe(token.principal, session, is_on=True)

    @router.delete("/v1/session", status_code=204, summary="Log out and delete the cookie")
    async def log_out(request: Request, response: Response) -> None:
        response.headers["Set-Cookie"] = clear_cookie(host=_host(request), is_secure=_is_secure(request))

    return router


def _describe(principal: Principal, session: Session | None, *, is_on: bool) -> SessionAnswer:
    return SessionAnswer(
        access="on" if is_on else "off",
        name=principal.name,
        scopes=sorted(principal.scopes),
        csrf=session.csrf if session else None,
    )


def _find(login: Login, tokens: TokenFile) -> Token:
    token = tokens.find(login.token.strip())
    if token is None:
        # No lockout after failures: 256 random bits cannot be guessed, and a lockout would affect the token's owner.
        tokens.metrics.observe_failure()
        raise Unauthorized("unknown or expired token")
    return token


async def _read_login(request: Request) -> Login:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A cross-site form can send any other type without a preflight.
        raise MalformedRequest("the Content-Type must be application/json")
    body = await read_small(request, limit=_MAX_BODY, seconds=_SECONDS)
    try:
        return Login.model_validate(read_json(body))
    except ValueError as error:
        raise MalformedRequest('the body must be {"token": "..."}') from error


def _host(request: Request) -> str:
    return request.headers.get("host", "")


def _is_secure(request: Request) -> bool:
    # Behind a TLS proxy the scheme is http, but Origin shows https; a forged Origin harms only its sender.
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
