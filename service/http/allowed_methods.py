"""The methods of each path, over all of an app's routes."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

REFUSE = "refuse_method"
"""The name of routes that answer 405."""


class Methods:
    """Answers which methods `Allow` lists for a path; the router alone would name those of the first route that fits.

    A route with exactly this path comes before those whose parameters fit it.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route | APIRoute)]

    @property
    def paths(self) -> list[str]:
        """The paths of all routes."""
        return [route.path for route in self._routes]

    def allowed(self, path: str) -> str:
        """Return the methods of a path, as `Allow` lists them."""
        routes = [route for route in self._routes if route.path_regex.match(path)]
        routes = [route for route in routes if route.path == path] or routes
        return ", ".join(sorted({method for route in routes for method in route.methods or ()} - _refused(routes)))


def _refused(routes: Iterable[Route | APIRoute]) -> set[str]:
    """Return the methods of routes that exist to refuse them."""
    return {method for route in routes if route.name == REFUSE for method in route.methods or ()}
