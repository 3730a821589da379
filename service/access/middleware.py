"""ASGI middleware between telemetry and the routes: authentication, authorization and rate limits."""

import hmac
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.guard import MISSING, Guard, missing_scope
from service.access.origin import AllowedHosts, check_origin, check_reader
from service.access.policy import SAFE_METHODS, Need, Open, is_page, need_of
from service.access.principal import ANONYMOUS, UNRESTRICTED
from service.access.principal import Scope as Permission
from service.access.sessions import Session, find_session, has_cookie
from service.access.tokens import Token, TokenFile
from service.errors import Forbidden, MalformedRequest, Unauthorized
from service.http.scope_state import request_state

_SEEN = frozenset(
    {b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-mode", b"sec-fetch-site", b"x-csrf-token"}
)


class Access:
    """Admits or refuses a request before its body is read; sets the request's `principal` and `session`.

    Raises for refused requests; telemetry sends the response. Watches the token file during the app's lifespan.

    Args:
        app: the wrapped app.
        guard: knows the accepted tokens and their rates.
        hosts: host names that browsers may use; None allows any.
    """

    def __init__(self, app: ASGIApp, guard: Guard, *, hosts: AllowedHosts | None) -> None:
        self._app = app
        self._guard = guard
        self._tokens = guard.tokens
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, refuse it, or redirect it to the login."""
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
        """Return None for an admitted request, or a redirect to the login.

        Raises:
            ServiceError: the request is refused.
        """
        need, headers, state = need_of(scope["method"], scope["path"]), _read_headers(scope), request_state(scope)
        self._check_host(scope, headers, need)
        self._check_page(scope, headers, need)
        if self._tokens is None:
            state.principal = UNRESTRICTED
            return None
        if need is Open.TO_ALL:
            state.principal = ANONYMOUS
            return None
        try:
            token, session = self._identify(scope["method"], headers, self._tokens)
        except Unauthorized:
            if login := _login(scope, headers):
                return login
            raise
        # Set before any refusal, so that the log names the caller.
        state.principal = principal = token.principal
        self._guard.check_rate(token, self._tokens)
        if isinstance(need, Permission) and not principal.may(need):
            if login := _login(scope, headers, missing=need):
                return login
            raise Forbidden(missing_scope(principal, need))
        state.session = session
        return None

    def _check_host(self, scope: Scope, headers: "_Headers", need: Need) -> None:
        """Refuse pages under foreign host names (DNS rebinding), which would count as same-origin."""
        # Only browsers are checked: they send Origin with every unsafe request.
        is_page = headers.origin is not None or scope["method"] in SAFE_METHODS
        if self._hosts is not None and is_page and headers.host and need is not Open.TO_ALL:
            self._hosts.check(headers.host)

    def _check_page(self, scope: Scope, headers: "_Headers", need: Need) -> None:
        """Refuse what pages of other sites load or send."""
        if scope["method"] not in SAFE_METHODS:
            if self._tokens is None or need is Open.TO_ALL:
                headers.check_origin()
        elif need is not Open.TO_ALL:
            headers.check_reader()

    def _identify(self, method: str, headers: "_Headers", tokens: TokenFile) -> tuple[Token, Session | None]:
        if headers.authorization is not None:
            return self._guard.find_bearer(headers.authorization, tokens), None
        if not has_cookie(headers.cookie, host=headers.host):
            raise Unauthorized(MISSING)
        session = find_session(headers.cookie, tokens, host=headers.host)
        if session is None:
            tokens.metrics.observe_failure()
            raise Unauthorized("the session has expired: log in again at /login")
        if method not in SAFE_METHODS:
            headers.check_origin()
            if not hmac.compare_digest(headers.csrf.encode("latin-1"), session.csrf.encode()):
                raise Forbidden("missing or wrong X-CSRF-Token: send the value from GET /v1/session")
        return session.token, session


@dataclass(frozen=True, slots=True)
class _Headers:
    """The request headers relevant to access."""

    authorization: str | None
    cookie: str
    host: str
    origin: str | None
    site: str | None
    mode: str | None
    csrf: str

    def check_origin(self) -> None:
        """Raise Forbidden for requests from pages of other sites."""
        check_origin(origin=self.origin, site=self.site, host=self.host)

    def check_reader(self) -> None:
        """Raise Forbidden for what pages of other sites load."""
        check_reader(site=self.site, mode=self.mode)


def _read_headers(scope: Scope) -> _Headers:
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name not in _SEEN:
            continue
        text = value.decode("latin-1")
        if name not in headers:
            headers[name] = text
        elif name == b"cookie":  # HTTP/2 may split it, and a proxy may forward the parts.
            headers[name] += f"; {text}"
        else:
            raise MalformedRequest(f"the header {name.decode()} appears twice: send it once")
    return _Headers(
        headers.get(b"authorization"),
        headers.get(b"cookie", ""),
        headers.get(b"host", ""),
        headers.get(b"origin"),
        headers.get(b"sec-fetch-site"),
        headers.get(b"sec-fetch-mode"),
        headers.get(b"x-csrf-token", ""),
    )


def _login(scope: Scope, headers: _Headers, missing: Permission | None = None) -> RedirectResponse | None:
    """Redirect a browser that opens a page to the login; return None for programs and other paths."""
    if not is_page(scope["path"]) or scope["method"] not in SAFE_METHODS or headers.authorization is not None:
        return None
    query = scope["query_string"].decode("latin-1")
    # The path is decoded; quoted once more it survives as the value of `next`, which the page decodes once.
    wanted = quote(quote(scope["path"], safe="/") + (f"?{query}" if query else ""), safe="/")
    reason = f"&missing={missing}" if missing else ""
    return RedirectResponse(f"/login?next={wanted}{reason}", 303)
