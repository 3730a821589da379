"""Which methods a path has, over all of an app's routes."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route


class Methods:
    """The `Allow` of every path: one router alone would name the methods of the first route that fits.

    Args:
        routes: all of the app.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route | APIRoute)]

    def allowed(self, path: str) -> str:
        """Return the methods of a path, as `Allow` lists them."""
        found: set[str] = set()
        for route in self._routes:
            if route.path_regex.match(path):
                found |= route.methods or set()
        return ", ".join(sorted(found))
