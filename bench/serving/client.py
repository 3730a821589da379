"""Sequential requests on one connection: latency without queueing."""

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.serving.answers import AnswerReader, HttpAnswer
from bench.serving.limits import timed
from bench.serving.posts import Post

_TIMEOUT = 30.0


class KeepAliveClient:
    """A keep-alive connection to 127.0.0.1:`port`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, post: Post, *, expect: bool = False) -> HttpAnswer:
        """Send one request and wait for its answer; with `expect`, wait for 100 Continue before the body.

        Raises:
            ConnectionError: the server closed the connection before it had answered.
        """
        reader = AnswerReader()
        if not expect:
            self._socket.sendall(post.head())
            self._socket.sendall(post.body)
            return self._finish(reader)
        self._socket.sendall(post.head(expect=True))
        while not reader.may_continue:
            if early := reader.feed(self._receive()):
                return early
        self._socket.sendall(post.body)
        return self._finish(reader)

    def _finish(self, reader: AnswerReader) -> HttpAnswer:
        while not (answer := reader.feed(self._receive())):
            pass
        return answer

    def _receive(self) -> bytes:
        if data := self._socket.recv(1 << 16):
            return data
        raise ConnectionError("the server closed the connection before it had answered")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def latencies(port: int, posts: Sequence[Post], *, seconds: float, expect: bool = False) -> list[float]:
    """Milliseconds from the first byte sent to the last one received of each request, one at a time.

    Raises:
        RuntimeError: an answer was not 200.
    """
    with KeepAliveClient(port) as client:

        def send(post: Post) -> None:
            answer = client.post(post, expect=expect)
            if answer.status != 200:
                raise RuntimeError(f"the answer was {answer.status}: {answer.body.decode(errors='replace')}")

        return timed(send, posts, seconds)
