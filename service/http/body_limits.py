"""Limit request bodies of routes without limits of their own."""

from collections.abc import Container

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge
from service.http.allowed_methods import AllowedMethods
from service.http.request_body import content_length, read_small

MAX_BYTES = 64 * 2**10
SECONDS = 10.0


class BodyLimit:
    """ASGI middleware that reads the body, up to a limit, before it calls the app.

    It raises `NotFound`, `MethodNotAllowed`, `BodyTooLarge`, `DeadlineExceeded` or `ClientGone`.

    Args:
        app: the wrapped app.
        methods: the paths of the app with their methods.
        seconds: the timeout of a body, at most `SECONDS`.
        own_limits: paths whose endpoints limit the body themselves, except that of a GET.
    """

    def __init__(
        self, app: ASGIApp, methods: AllowedMethods, *, seconds: float, own_limits: Container[str] = ()
    ) -> None:
        self._app = app
        self._methods = methods
        self._own_limits = own_limits
        self._seconds = min(seconds, SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through with its complete body."""
        if scope["type"] != "http" or not self._is_limited(scope):
            await self._app(scope, receive, send)
            return
        self._methods.check(scope)
        request = Request(scope, receive)
        if (length := content_length(request)) is not None and length > MAX_BYTES:
            raise BodyTooLarge(f"the body has {length:,} bytes: this path allows {MAX_BYTES:,}")
        messages: list[Message] = [
            {
                "type": "http.request",
                "body": await read_small(request, limit=MAX_BYTES, seconds=self._seconds),
                "more_body": False,
            }
        ]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    def _is_limited(self, scope: Scope) -> bool:
        if scope["path"] in self._own_limits and scope["method"] != "GET":
            return False
        return _has_body(scope)


def _has_body(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0")):
            return True
    return False
