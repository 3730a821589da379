"""HEAD requests: the head of the answer to GET, for every path that supports GET (RFC 9110, 9.3.2)."""

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware that passes HEAD on as GET, and ends it once the head is known: exports take minutes.

    The server, which knows the method, leaves out the body.

    Args:
        app: the wrapped app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        passed_on = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({"type": message["type"]} if is_body else message)
            if is_body:
                rest.cancel()

        try:
            with CancelScope() as rest:
                await self._app(passed_on, receive, send_head)
        finally:
            if "route" in passed_on:
                scope["route"] = passed_on["route"]  # The label of metrics and logs.
