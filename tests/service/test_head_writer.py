"""The head of an answer leaves with its body, or alone at the event loop's next turn."""

import asyncio
import socket
import struct
from typing import Any, cast

import pytest

from service.http.uvicorn_adapter.head_writer import HeadWriter, UnchunkedWriter

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Sent:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.found: list[bytes | str] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.found.append(data)

    def close(self) -> None:
        self.found.append("closed")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> "Sent":
        assert name == "socket"
        return self

    def setsockopt(self, *option: object) -> None:
        assert option == (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.found.append("with a reset")

    def abort(self) -> None:
        self.found.append("aborted")
        self.closing = True


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([b"head", b"body"], [b"headbody"]),
        ([b"head", b""], [b"head"]),
        ([b"head"], [b"head"]),
        ([b"head", "flush"], [b"head"]),
        ([b"head", b"1", b"2"], [b"head1", b"2"]),
        ([CONTINUE, b"head", b"body"], [CONTINUE, b"headbody"]),
        ([b"head", "close"], [b"head", "closed"]),
        ([b"head", b"body", "close"], [b"headbody", "closed"]),
        (["close"], ["closed"]),
    ],
)
def test_order_and_number_of_writes(steps: list[bytes | str], expected: list[bytes | str]) -> None:
    sent = Sent()

    async def run() -> None:
        writer = HeadWriter(cast("Any", sent), asyncio.get_running_loop(), sent.close)
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
            else:
                getattr(writer, step)()
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert sent.found == expected


def test_a_head_whose_body_comes_late_is_not_held() -> None:
    sent = Sent()

    async def run() -> None:
        writer = HeadWriter(cast("Any", sent), asyncio.get_running_loop(), sent.close)
        writer.write(b"head")
        assert not sent.found
        await asyncio.sleep(0.01)
        assert sent.found == [b"head"]
        writer.write(b"line")
        assert sent.found == [b"head", b"line"]

    asyncio.run(run())


def test_a_closed_connection_gets_no_late_head() -> None:
    sent = Sent()

    async def run() -> None:
        HeadWriter(cast("Any", sent), asyncio.get_running_loop(), sent.close).write(b"head")
        sent.closing = True
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert not sent.found


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ([b"head\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\n1\r\n2\r\n", b""], b"head\r\n\r\n1\r\n2"),
        ([b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"], b"\r\na"),
        ([b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"0\r\n\r\n"], b"\r\na"),
        ([b"content-length: 10\r\n\r\n", b"1\r\na\r\n", b"0\r\n\r"], b"content-length: 10\r\n\r\n1\r\na\r\n0\r\n\r"),
    ],
)
def test_an_http_1_0_caller_gets_no_chunks(writes: list[bytes], expected: bytes) -> None:
    sent = Sent()

    async def run() -> None:
        writer = UnchunkedWriter(cast("Any", sent), asyncio.get_running_loop(), sent.close)
        for data in writes:
            writer.write(data)

    asyncio.run(run())
    assert b"".join(cast("list[bytes]", sent.found)) == expected


@pytest.mark.parametrize(
    ("writes", "is_complete"),
    [
        ([], True),
        ([b"content-length: 1\r\n\r\n"], True),
        ([b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"], True),
        ([b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"0\r\n\r\n"], True),
        ([b"transfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n"], True),
        ([b"transfer-encoding: chunked\r\n\r\n"], False),
        ([b"transfer-encoding: chunked\r\n\r\n", b""], False),
        ([b"transfer-encoding: chunked\r\n\r\n", b"3\r\n0\r\n\r\n"], False),
    ],
)
def test_an_incomplete_body_for_an_http_1_0_caller_ends_with_a_reset(writes: list[bytes], is_complete: bool) -> None:
    sent = Sent()

    async def run() -> None:
        writer = UnchunkedWriter(cast("Any", sent), asyncio.get_running_loop(), sent.close)
        for data in writes:
            writer.write(data)
        writer.close()

    asyncio.run(run())
    assert ("with a reset" not in sent.found) == is_complete
