"""Sequential requests on one connection: latency without queueing."""

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.serving.limits import timed
from bench.serving.posts import Post
from bench.serving.response_parser import HttpResponse, ResponseParser

_TIMEOUT = 30.0


class KeepAliveClient:
    """A keep-alive connection to 127.0.0.1:`port`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, post: Post, *, expect: bool = False) -> HttpResponse:
        """Send one request and wait for its response; with `expect`, wait for 100 Continue before the body.

        Raises:
            ConnectionError: the server closed the connection before it had responded.
        """
        parser = ResponseParser()
        if not expect:
            self._socket.sendall(post.head())
            self._socket.sendall(post.body)
            return self._finish(parser)
        self._socket.sendall(post.head(expect=True))
        while not parser.may_continue:
            if early := parser.feed(self._receive()):
                return early
        self._socket.sendall(post.body)
        return self._finish(parser)

    def _finish(self, parser: ResponseParser) -> HttpResponse:
        while not (response := parser.feed(self._receive())):
            pass
        return response

    def _receive(self) -> bytes:
        if data := self._socket.recv(1 << 16):
            return data
        raise ConnectionError("the server closed the connection before it had responded")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def latencies(port: int, posts: Sequence[Post], *, seconds: float, expect: bool = False) -> list[float]:
    """Milliseconds from the first byte sent to the last one received of each request, one at a time.

    Raises:
        RuntimeError: a response was not 200.
    """
    with KeepAliveClient(port) as client:

        def send(post: Post) -> None:
            response = client.post(post, expect=expect)
            if response.status != 200:
                raise RuntimeError(f"the response was {response.status}: {response.body.decode(errors='replace')}")

        return timed(send, posts, seconds)
