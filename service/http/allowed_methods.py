"""The allowed methods of a path, over all routes of an app."""

from collections.abc import Container, Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed

NOT_ALLOWED = "the path does not support this method: use one of those in the Allow header"


class RawRoute(Route):
    """A route to an ASGI app; another method is refused like every error, not in Starlette's plain text."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app."""
        if self.methods is not None and scope["method"] not in self.methods:
            raise MethodNotAllowed(NOT_ALLOWED)
        await self.app(scope, receive, send)


class AllowedMethods:
    """The `Allow` header of every path: a router alone would name the methods of the first matching route.

    Args:
        routes: the routes that are matched last.
        first: the routes that are matched before; a path of theirs is not looked up in `routes`.
        shared: paths that are looked up in both.
    """

    def __init__(
        self, routes: Iterable[BaseRoute], *, first: Iterable[BaseRoute] = (), shared: Container[str] = ()
    ) -> None:
        self._groups = [_with_methods(first), _with_methods(routes)]
        self._shared = shared

    @property
    def paths(self) -> list[str]:
        """The paths of all routes."""
        return [route.path for group in self._groups for route in group]

    def allowed(self, path: str) -> str:
        """Return the value of the `Allow` header."""
        found: set[str] = set()
        for group in self._groups:
            for route in group:
                if route.path_regex.match(path):
                    found |= route.methods or set()
            if found and path not in self._shared:
                break
        return ", ".join(sorted(found))


def _with_methods(routes: Iterable[BaseRoute]) -> list[Route | APIRoute]:
    return [route for route in routes if isinstance(route, Route | APIRoute)]
