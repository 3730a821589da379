"""A deadline for a whole blocking call of httpx, which has a timeout for each read and each write only.

A server that sends a byte now and then, or interim responses without end, would hold the caller for ever. This is the
one module that reaches into httpx and httpcore (`_transport`, `_mounts`, `_pool`, `_network_backend`), for which the
versions have upper bounds: their public API takes a network backend only without httpx's proxies and certificates.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_WRITE_BYTES = 16 * 2**10
"""Written between two looks at the clock: httpcore waits anew for each part of what it is given."""


class Deadline(threading.local):
    """When the call of this thread has to end; httpcore reads and writes in the thread that calls it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end: float | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End everything that the block reads and writes after so many seconds."""
        self._end = self._clock() + seconds
        try:
            yield
        finally:
            self._end = None

    def left(self, timeout: float | None, expired: type[Exception]) -> float | None:
        """Seconds that one wait may take; raises `expired` where there are none."""
        if self._end is None:
            return timeout
        left = self._end - self._clock()
        if left <= 0:
            raise expired("the time of the call is over")
        return left if timeout is None else min(left, timeout)


def hold_to(deadline: Deadline, client: httpx.Client) -> None:
    """Hold every connection that the client opens to `deadline`; transports that are not httpx's stay as they are."""
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _Backend(pool._network_backend, deadline)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, deadline: Deadline) -> None:
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
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, left, local_address, socket_options), self._deadline)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, left, socket_options), self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITE_BYTES):
            left = self._deadline.left(timeout, httpcore.WriteTimeout)
            self._stream.write(view[start : start + _WRITE_BYTES].tobytes(), left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
