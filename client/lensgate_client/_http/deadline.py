"""Adapter for private parts of httpx and httpcore: a deadline for a whole blocking call.

httpx has timeouts for each read and each write only, so a server that sends single bytes or endless interim responses
could block the caller forever. The private parts are `_transport` and `_mounts` of `httpx.Client`, `_pool` of
`httpx.HTTPTransport` and `_network_backend` of `httpcore.ConnectionPool`; `pyproject.toml` has an upper bound for both
packages. The public way, a network backend given to `httpcore.ConnectionPool`, excludes httpx's proxies and
certificates.
"""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_WRITE_BYTES = 16 * 2**10
"""Bytes written between two checks of the deadline: httpcore restarts its timeout for each part of a write."""


class ThreadDeadline(threading.local):
    """Deadline of the current thread's call; httpcore reads and writes in the calling thread."""

    def __init__(self) -> None:
        self._end: float | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit all reads and writes of the block to `seconds` in total."""
        self._end = time.monotonic() + seconds
        try:
            yield
        finally:
            self._end = None

    def limit(self, timeout: float | None, expired: type[Exception]) -> float | None:
        """Return the timeout of one operation, limited by the deadline; raise `expired` after the deadline."""
        if self._end is None:
            return timeout
        left = self._end - time.monotonic()
        if left <= 0:
            raise expired("the call timed out")
        return left if timeout is None else min(left, timeout)


def apply_deadline(deadline: ThreadDeadline, client: httpx.Client) -> None:
    """Apply `deadline` to every connection that `client` opens; custom transports stay unchanged."""
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _DeadlineBackend(pool._network_backend, deadline)


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, deadline: ThreadDeadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, limit, local_address, socket_options)
        return _DeadlineStream(stream, self._deadline)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._backend.connect_unix_socket(path, limit, socket_options), self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: ThreadDeadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITE_BYTES):
            limit = self._deadline.limit(timeout, httpcore.WriteTimeout)
            self._stream.write(view[start : start + _WRITE_BYTES].tobytes(), limit)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, limit), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
