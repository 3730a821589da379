"""The scope that each path requires, in one table; paths outside it require `admin`."""

from enum import Enum

from service.access.principal import Scope


class Open(Enum):
    """Requirements without a scope."""

    TO_ALL = "no token"
    TO_KNOWN = "any known token"


Need = Scope | Open

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods without side effects (RFC 9110, 9.2.1)."""

_PAGES = frozenset({"/", "/decisions", "/review", "/docs"})
_DECISION_PAGES = "/decisions/"

_GET = ("GET", "HEAD")
_ANY = ("GET", "HEAD", "POST", "PUT", "DELETE")

# A path that ends in * matches every path with that prefix. Like the router, the table compares paths as they are,
# decoded once: /v1//decisions or a trailing slash is a different path to both.
_TABLE: tuple[tuple[tuple[str, ...], str, Need], ...] = (
    (_GET, "/livez", Open.TO_ALL),
    (_GET, "/readyz", Open.TO_ALL),
    (_GET, "/v2/health/live", Open.TO_ALL),
    (_GET, "/v2/health/ready", Open.TO_ALL),
    (_GET, "/login", Open.TO_ALL),
    (_GET, "/static/*", Open.TO_ALL),
    (("POST",), "/v1/session", Open.TO_ALL),
    (("GET", "HEAD", "DELETE"), "/v1/session", Open.TO_KNOWN),
    (_GET, "/metrics", Open.TO_KNOWN),
    (_GET, "/v1/model", Open.TO_KNOWN),
    (_GET, "/docs", Open.TO_KNOWN),
    (_GET, "/openapi.json", Open.TO_KNOWN),
    (_GET, "/", Scope.REVIEW),
    (_GET, "/decisions", Scope.REVIEW),
    (_GET, "/decisions/*", Scope.REVIEW),
    (_GET, "/review", Scope.REVIEW),
    (_GET, "/v1/operations", Scope.REVIEW),
    (_GET, "/v1/operations/history", Scope.REVIEW),
    (_GET, "/v1/failures", Scope.REVIEW),
    (_GET, "/v1/sources", Scope.REVIEW),
    (_GET, "/v1/decisions", Scope.REVIEW),
    (_GET, "/v1/decisions/*", Scope.REVIEW),
    (_ANY, "/v1/review/*", Scope.REVIEW),
    (("POST",), "/v1/decisions", Scope.DECIDE),
    (("POST",), "/v1/decisions/batch", Scope.DECIDE),
    (("POST",), "/v1/trials", Scope.DECIDE),
    (("POST",), "/v2/systemsharedmemory/*", Scope.ADMIN),
    (("POST",), "/v2/cudasharedmemory/*", Scope.ADMIN),
    (("POST",), "/v2/*", Scope.DECIDE),
    (_GET, "/v2", Open.TO_KNOWN),
    (_GET, "/v2/*", Open.TO_KNOWN),
)

GRPC: dict[str, Need] = {
    "Check": Open.TO_ALL,
    "ServerLive": Open.TO_ALL,
    "ServerReady": Open.TO_ALL,
    "ModelReady": Open.TO_KNOWN,
    "ServerMetadata": Open.TO_KNOWN,
    "ModelMetadata": Open.TO_KNOWN,
    "ModelInfer": Scope.DECIDE,
    "ModelStreamInfer": Scope.DECIDE,
}
"""The requirement of each call of the gRPC service."""

_EXACT = {(method, path): need for methods, path, need in _TABLE if path[-1] != "*" for method in methods}
_PREFIXES = [(methods, path[:-1], need) for methods, path, need in _TABLE if path[-1] == "*"]


def is_page(path: str) -> bool:
    """Return whether it is a page; a browser without a session is redirected to the login."""
    return path in _PAGES or path.startswith(_DECISION_PAGES)


def need_of(method: str, path: str) -> Need:
    """Return the requirement of a request. An exact path takes precedence over a prefix."""
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    for methods, prefix, need in _PREFIXES:
        if method in methods and path.startswith(prefix):
            return need
    return Scope.ADMIN
