"""The route and the allowed methods of a path, over all routes of an app."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed, NotFound

NOT_ALLOWED = "the path does not support this method: use one of those in the Allow header"
NOT_FOUND = "unknown path: /docs lists all paths"


class RawRoute(Route):
    """A route to an ASGI app; another method is refused like every error, not in Starlette's plain text."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app; raise MethodNotAllowed for another method."""
        if self.methods is not None and scope["method"] not in self.methods:
            raise MethodNotAllowed(NOT_ALLOWED)
        await self.app(scope, receive, send)


class AllowedMethods:
    """The methods of every path: a router alone would name those of the first matching route."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route | APIRoute)]
        self._fixed = {(method, route.path): route for route in self._routes for method in route.methods or ()}

    @property
    def paths(self) -> list[str]:
        """The paths of all routes."""
        return [route.path for route in self._routes]

    def allowed(self, path: str) -> str:
        """Return the value of the `Allow` header."""
        return ", ".join(sorted(self._methods_of(path)))

    def check(self, scope: Scope) -> None:
        """Check a request whose body would otherwise be refused first, which would hide the error.

        Raises:
            NotFound: the path is unknown.
            MethodNotAllowed: the path does not support the method.
        """
        methods = self._methods_of(scope["path"])
        if not methods:
            raise NotFound(NOT_FOUND)
        if scope["method"] not in methods:
            raise MethodNotAllowed(NOT_ALLOWED)

    def route_of(self, scope: Scope) -> Route | None:
        """Return the route that a router would choose; None for an unknown path."""
        method, path = scope["method"], scope["path"]
        if fixed := self._fixed.get((method, path)):
            return fixed
        routes = self._routes_of(path)
        return next((route for route in routes if method in (route.methods or ())), routes[0] if routes else None)

    def _routes_of(self, path: str) -> list[Route]:
        return [route for route in self._routes if route.path_regex.match(path)]

    def _methods_of(self, path: str) -> set[str]:
        methods = {method for route in self._routes_of(path) for method in route.methods or ()}
        return methods | {"HEAD"} if "GET" in methods else methods
