"""The only package that uses private parts of uvicorn, each version only after its tests have passed.

With an untested version the service falls back to uvicorn's own protocol, see `STOCK_WARNING`.
"""

import uvicorn

TESTED = (0, 54)
"""The tested minor version; `pyproject.toml` allows no later one."""

STOCK_WARNING = (
    "uvicorn %s is not tested with this service: falling back to its own HTTP protocol. Lost are zero-copy request "
    "bodies, timeouts of request heads and of slow readers, recovery from half-closed connections, cancellation of "
    "work whose caller has left, the limit on TLS handshakes, and problem+json for malformed HTTP. Install uvicorn %s"
)


def is_tested(version: str = uvicorn.__version__) -> bool:
    """Return whether the private parts that this package uses were tested in a version of uvicorn."""
    return tuple(version.split(".")[:2]) == tuple(map(str, TESTED))
