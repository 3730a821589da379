"""ASGI middleware between telemetry and the routes: who asks, whether they may, and how often."""

import hmac
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.limits import RateLimits
from service.access.origin import AllowedHosts, check_origin
from service.access.policy import PAGES, SAFE_METHODS, Need, Open, need_of
from service.access.principal import ANYBODY, NOBODY, Principal
from service.access.principal import Scope as Permission
from service.access.sessions import Session, find_session, has_cookie
from service.access.tokens import Token, TokenFile
from service.errors import Forbidden, MalformedRequest, RateLimited, Unauthorized
from service.http.scope_state import request_state

_MAX_SECRET = 512
_SEEN = frozenset({b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site", b"x-csrf-token"})


class Access:
    """Decides before the body is read. It sets the `principal` of the request, and the `session` of a browser.

    What it refuses it raises: telemetry answers. It follows the file of tokens for as long as the app lives.

    Args:
        app: what it is around.
        tokens: who may come in; None where nobody is asked.
        hosts: the names that browsers may use; None is any.
        on_limit: is told of each request that came too early.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenFile | None,
        *,
        hosts: AllowedHosts | None,
        on_limit: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = hosts
        self._on_limit = on_limit
        self._limits = RateLimits(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, refuse it, or lead it to the login."""
        if scope["type"] == "lifespan":
            async with nullcontext() if self._tokens is None else self._tokens.watch:
                await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif login := self._admit(scope):
            await login(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> RedirectResponse | None:
        """None where the request may pass; otherwise where it is led instead.

        Raises:
            ServiceError: it may not pass.
        """
        need, headers, state = need_of(scope["method"], scope["path"]), _read_headers(scope), request_state(scope)
        self._check_host(scope, headers, need)
        if scope["method"] not in SAFE_METHODS and (self._tokens is None or need is Open.TO_ALL):
            headers.check_origin()
        if self._tokens is None:
            state.principal = ANYBODY
            return None
        if need is Open.TO_ALL:
            state.principal = NOBODY
            return None
        try:
            token, session = self._identify(scope["method"], headers, self._tokens)
        except Unauthorized:
            if login := _login(scope, headers):
                return login
            raise
        # Before anything is refused: the log says whose request it was.
        state.principal = principal = token.principal
        self._check_rate(token, self._tokens)
        if isinstance(need, Permission) and not principal.may(need):
            if login := _login(scope, headers, missing=need):
                return login
            raise Forbidden(_missing(principal, need))
        state.session = session
        return None

    def _check_host(self, scope: Scope, headers: "_Headers", need: Need) -> None:
        """Refuse a page that has made its own name mean this service: it would pass for one of ours."""
        # Programs may call this service what they like. Browsers send Host, and Origin with whatever changes something.
        is_page = headers.origin is not None or scope["method"] in SAFE_METHODS
        if self._hosts is not None and is_page and headers.host and need is not Open.TO_ALL:
            self._hosts.check(headers.host)

    def _identify(self, method: str, headers: "_Headers", tokens: TokenFile) -> tuple[Token, Session | None]:
        if headers.authorization is not None:
            return self._find_bearer(headers.authorization, tokens), None
        if not has_cookie(headers.cookie):
            raise Unauthorized("a token is needed: Authorization: Bearer TOKEN")
        session = find_session(headers.cookie, tokens)
        if session is None:
            tokens.metrics.observe_failure()
            raise Unauthorized("the session is over: log in again at /login")
        if method not in SAFE_METHODS:
            headers.check_origin()
            if not hmac.compare_digest(headers.csrf.encode("latin-1"), session.csrf.encode()):
                raise Forbidden("a session needs the X-CSRF-Token that GET /v1/session answers with")
        return session.token, session

    def _find_bearer(self, authorization: str, tokens: TokenFile) -> Token:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        token = tokens.find(secret) if scheme.lower() == "bearer" and 0 < len(secret) <= _MAX_SECRET else None
        if token is None:
            tokens.metrics.observe_failure()
            raise Unauthorized("the token is not known, or its time is over: Authorization: Bearer TOKEN")
        return token

    def _check_rate(self, token: Token, tokens: TokenFile) -> None:
        try:
            self._limits.take(token, known=tokens.tokens)
        except RateLimited:
            self._on_limit()
            raise


@dataclass(slots=True)
class _Headers:
    """What of a request's head says who asks."""

    authorization: str | None = None
    cookie: str = ""
    host: str = ""
    origin: str | None = None
    site: str | None = None
    csrf: str = ""

    def check_origin(self) -> None:
        """Raise Forbidden where a page of another site asks."""
        check_origin(origin=self.origin, site=self.site, host=self.host)


def _read_headers(scope: Scope) -> _Headers:
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name not in _SEEN:
            continue
        text = value.decode("latin-1")
        if name not in found:
            found[name] = text
        elif name == b"cookie":  # HTTP/2 may bring it in parts, and a proxy hand them on.
            found[name] += f"; {text}"
        else:
            raise MalformedRequest(f"the header {name.decode()} is there twice")
    return _Headers(
        found.get(b"authorization"),
        found.get(b"cookie", ""),
        found.get(b"host", ""),
        found.get(b"origin"),
        found.get(b"sec-fetch-site"),
        found.get(b"x-csrf-token", ""),
    )


def _login(scope: Scope, headers: _Headers, missing: Permission | None = None) -> RedirectResponse | None:
    """Where a person who opens a page is led; None for a program, or where it is no page."""
    if scope["path"] not in PAGES or scope["method"] not in SAFE_METHODS or headers.authorization is not None:
        return None
    query = scope["query_string"].decode("latin-1")
    wanted = quote(scope["path"] + (f"?{query}" if query else ""), safe="/")
    reason = f"&missing={missing}" if missing else ""
    return RedirectResponse(f"/login?next={wanted}{reason}", 303, headers={"Cache-Control": "no-store"})


def _missing(principal: Principal, need: Permission) -> str:
    text = f"the token of {principal.name} has not the scope {need}, which this takes"
    return f"{text}, or there is nothing at this path" if need is Permission.ADMIN else text
