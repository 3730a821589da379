"""Broken and malicious servers: a clear error in bounded time and memory, and never a wrong decision."""

import asyncio
import gzip
import itertools
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    AsyncGate,
    AsyncGateFilter,
    DeadlineExceeded,
    Gate,
    GateError,
    GateFilter,
    GateUnreachable,
    NotReady,
    Retries,
    UnexpectedAnswer,
)

from tests.client.faulty_server import RESET, ReceivedRequest, Responder, faulty_server, respond_correctly, response
from tests.client.support import FILE, NO_TLS, PIXELS, Make

ONCE = Retries(ratio=0.0, minimum=0.0)
SECONDS = 0.5
TOO_LONG = 5.0
TOO_MUCH = 8 * 2**20
BOMB = 64 * 2**20


def body_of(request: ReceivedRequest) -> bytes:
    return json.dumps(request.correct_body).encode()


def plain(data: bytes) -> Responder:
    """Send the same bytes for every request."""
    return lambda _: [data]


def compressed(encoding: str, pack: Callable[[bytes], bytes]) -> Responder:
    """Send a compressed response; it is created here, so that the test measures the memory of the client only."""
    return plain(response(pack(bytes(BOMB)), f"Content-Encoding: {encoding}"))


def endless(begin: bytes, part: bytes, *, pause: float = 0.0) -> Responder:
    """Send an endless response."""

    def responder(_: ReceivedRequest) -> Iterator[bytes]:
        yield begin
        while True:
            time.sleep(pause)
            yield part

    return responder


HEAD = b"HTTP/1.1 200 OK\r\n"
MEGABYTE = bytes(2**20)
TRANSPORT: dict[str, tuple[Responder, type[GateError]]] = {
    "a gzip bomb": (compressed("gzip", lambda data: gzip.compress(data, 1)), UnexpectedAnswer),
    "a deflate bomb": (compressed("deflate", lambda data: zlib.compress(data, 1)), UnexpectedAnswer),
    "a brotli bomb": (compressed("br", lambda data: data[:100]), UnexpectedAnswer),
    "a zstd bomb": (compressed("zstd", lambda data: data[:100]), UnexpectedAnswer),
    "compressed twice": (
        compressed("gzip, gzip", lambda data: gzip.compress(gzip.compress(data, 1))),
        UnexpectedAnswer,
    ),
    "a small compressed response": (
        lambda request: [response(gzip.compress(body_of(request)), "Content-Encoding: gzip")],
        UnexpectedAnswer,
    ),
    "3 GB announced": (plain(response(b"{}", "Content-Length: 3000000000")), UnexpectedAnswer),
    "a length of 4,000 digits": (plain(response(b"{}", f"Content-Length: {'0' * 4_000}1")), UnexpectedAnswer),
    "an endless body": (endless(HEAD + b"\r\n", MEGABYTE), UnexpectedAnswer),
    "endless chunks": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + MEGABYTE + b"\r\n"),
        UnexpectedAnswer,
    ),
    "an endless chunk size": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 999),
        UnexpectedAnswer,
    ),
    "endless headers": (endless(HEAD, b"X-A: " + b"a" * 500 + b"\r\n"), UnexpectedAnswer),
    "an endless header line": (endless(HEAD + b"X-A: ", b"a" * 999), UnexpectedAnswer),
    "an endless reason phrase": (endless(b"HTTP/1.1 200 ", b"a" * 999), UnexpectedAnswer),
    "another protocol": (plain(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), UnexpectedAnswer),
    "endless interim responses": (endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.01), DeadlineExceeded),
    "slow headers": (endless(HEAD, b"a", pause=0.05), DeadlineExceeded),
    "a slow body": (endless(HEAD + b"\r\n", b" ", pause=0.05), DeadlineExceeded),
    "silence": (endless(b"", b"", pause=0.05), DeadlineExceeded),
    "a reset": (plain(RESET), GateUnreachable),
    "a reset within the body": (lambda _: [response(b"{", "Content-Length: 100"), RESET], GateUnreachable),
    "another protocol requested": (
        plain(response(b"", "Upgrade: foo", status="101 Switching Protocols")),
        UnexpectedAnswer,
    ),
    "an empty response": (plain(response(b"")), UnexpectedAnswer),
    "no content": (plain(response(b"", status="204 No Content")), UnexpectedAnswer),
    "a page": (plain(response(b"<html>login</html>")), UnexpectedAnswer),
    "arrays of arrays": (plain(response(b"[" * 60_000)), UnexpectedAnswer),
    "objects of objects": (plain(response(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)), UnexpectedAnswer),
    "a number of 5,000 digits": (plain(response(b'{"id": ' + b"9" * 5_000 + b"}")), UnexpectedAnswer),
    "another encoding": (lambda request: [response(body_of(request).decode().encode("utf-16"))], UnexpectedAnswer),
    "an array": (lambda request: [response(b"[" + body_of(request) + b"]")], UnexpectedAnswer),
    "null": (plain(response(b"null")), UnexpectedAnswer),
    "a large page of a proxy": (plain(response(b"x" * 10**6, status="503 Service Unavailable")), NotReady),
    "a compressed page of a proxy": (
        plain(response(gzip.compress(bytes(BOMB), 1), "Content-Encoding: gzip", status="503 Service Unavailable")),
        NotReady,
    ),
}

Change = Callable[[dict[str, Any]], Any]


def put(*path: str | int, value: Any) -> Change:
    """Set a member."""

    def change(body: dict[str, Any]) -> None:
        owner: Any = body
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    """Remove a member."""

    def change(body: dict[str, Any]) -> None:
        owner: Any = body
        for key in path[:-1]:
            owner = owner[key]
        del owner[path[-1]]

    return change


INVALID_NUMBERS: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    "0.9",
    True,
    None,
    [0.9],
    {},
    -0.01,
    1.01,
    10**400,
)
WRONG_NOVELTIES: tuple[Any, ...] = (float("nan"), "1", True, [])
WRONG_OUTPUTS: tuple[Any, ...] = ({}, [], "", [1, 2], None)
P = "glasses_probability"
FILE_CHANGES: dict[str, Change] = {
    **{f"the probability {str(value)[:9]!r}": put(P, value=value) for value in INVALID_NUMBERS},
    **{f"the novelty {value!r}": put("novelty", value=value) for value in WRONG_NOVELTIES},
    **{f"the band's edge {value!r}": put("band", "low", value=value) for value in (float("nan"), "0.4", 0.7, -1)},
    **{
        f"no {'.'.join(path)}": drop(*path)
        for path in (
            *((key,) for key in ("id", P, "label", "decision", "reason", "novelty", "band", "model")),
            ("band", "low"),
            ("model", "version"),
        )
    },
    **{f"the id {value!r}": put("id", value=value) for value in ("another", 1, None, "")},
    **{f"the decision {value!r}": put("decision", value=value) for value in ("Accept", "keep", True, ["accept"])},
    **{f"the reason {str(value)[:9]!r}": put("reason", value=value) for value in ("", 1, "x" * 99, "a b", "uncertain")},
    **{f"the label {value!r}": put("label", value=value) for value in ("no_glasses", "Glasses", 1)},
    **{f"the model {str(value)[:9]!r}": put("model", "name", value=value) for value in ("", 7, "x" * 9_999, "../v1")},
    "a discarded confident one": put("decision", value="discard"),
    "an accepted uncertain one": put("band", value={"low": 0.4, "high": 0.9}),
    "an accepted one against the expected label": lambda body: body.update({P: 0.1, "label": "no_glasses"}),
    "contradicted without contradiction": lambda body: body.update(decision="discard", reason="contradicted"),
}
TENSOR_CHANGES: dict[str, Change] = {
    **{f"the probability {str(value)[:9]!r}": put("outputs", 0, "data", 1, value=value) for value in INVALID_NUMBERS},
    **{f"no {key}": drop(key) for key in ("id", "model_name", "model_version", "outputs")},
    **{f"an output without {key}": drop("outputs", 0, key) for key in ("name", "datatype", "shape", "data")},
    **{f"without output {number}": drop("outputs", number) for number in range(3)},
    **{f"one {word} value": put("outputs", 1, "data", value=["accept"] * n) for word, n in (("less", 2), ("more", 4))},
    **{f"the shape {shape}": put("outputs", 1, "shape", value=shape) for shape in ([4], [3, 1], 3, "3", [True], [3.0])},
    **{f"the data {data!r}": put("outputs", 0, "data", value=data) for data in ("abc", {"0": 1}, None, 0.9)},
    **{f"the outputs {value!r}": put("outputs", value=value) for value in WRONG_OUTPUTS},
    "another datatype": put("outputs", 0, "datatype", value="FP64"),
    "binary data": lambda body: body["outputs"][0].update(parameters={"binary_data_size": 2**40}, data=None),
    "an output twice": lambda body: body["outputs"].append(body["outputs"][0]),
    "another request's id": put("id", value="another"),
    "another model": put("model_name", value="faces"),
    "an invalid version": put("model_version", value="7\r\nX: y"),
    "an accepted one against its expected label": put("outputs", 0, "data", value=[0.9, 0.9, 0.1]),
    "a discarded confident one": put("outputs", 1, "data", value=["accept", "accept", "discard"]),
}
MODEL_CHANGES: dict[str, Change] = {
    **{f"the size {size!r}": put("input", "size", value=size) for size in (0, -32, 10**9, 32.0, "32", True, None)},
    **{f"the name {name!r}": put("name", value=name) for name in ("../../v1", "a?b", "a#b", "..", "", 7, "a\r\nb")},
    **{f"no {key}": drop(key) for key in ("name", "version", "input")},
}


def changed(change: Change, *, where: str) -> Responder:
    """Respond correctly, with a change for paths that end with `where`."""

    def responder(request: ReceivedRequest) -> Iterator[bytes]:
        body = request.correct_body
        if request.target.partition("?")[0].endswith(where):
            change(body)
        yield response(json.dumps(body).encode())

    return responder


@pytest.fixture
def ask(make: Make) -> Callable[..., Any]:
    return lambda url, **options: make(url, timeout=SECONDS, retries=ONCE, **options)


@pytest.mark.parametrize(("responder", "kind"), TRANSPORT.values(), ids=TRANSPORT)
def test_invalid_response_fails_in_bounded_time_and_memory(
    ask: Callable[..., Any], responder: Responder, kind: type[GateError]
) -> None:
    with faulty_server(responder) as server:
        asking = ask(server.url)
        begun = time.monotonic()
        tracemalloc.start()
        try:
            for call in (asking.decide, lambda image: list(asking.stream([image]))):
                with pytest.raises(GateError) as caught:
                    call(FILE)
                assert type(caught.value) is kind
                assert len(str(caught.value)) < 600
                assert str(caught.value).isprintable()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert time.monotonic() - begun < TOO_LONG
        assert peak < TOO_MUCH
        with pytest.raises(kind):
            asking.decide_many([PIXELS])


def test_endless_response_is_read_up_to_the_limit(ask: Callable[..., Any]) -> None:
    responder, _ = TRANSPORT["an endless body"]
    with faulty_server(responder) as server:
        asking = ask(server.url)
        for _ in range(3):
            with pytest.raises(UnexpectedAnswer, match="longer than"):
                asking.decide(FILE)
        assert server.written < 3 * TOO_MUCH


@pytest.mark.parametrize("change", FILE_CHANGES.values(), ids=FILE_CHANGES)
def test_invalid_decision_about_a_file_is_unexpected(ask: Callable[..., Any], change: Change) -> None:
    with faulty_server(changed(change, where="/decisions")) as server:
        asking = ask(server.url)
        with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
            asking.decide(FILE, "glasses")
        with pytest.raises(UnexpectedAnswer):
            asking.decide_many([FILE], "glasses")


@pytest.mark.parametrize("change", TENSOR_CHANGES.values(), ids=TENSOR_CHANGES)
def test_invalid_decisions_about_a_tensor_are_unexpected(ask: Callable[..., Any], change: Change) -> None:
    with faulty_server(changed(change, where="/infer")) as server:
        asking = ask(server.url)
        with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
            asking.decide_many([PIXELS] * 3, "glasses")
        with pytest.raises(UnexpectedAnswer):
            list(asking.stream(np.stack([PIXELS] * 3), "glasses"))


@pytest.mark.parametrize("change", MODEL_CHANGES.values(), ids=MODEL_CHANGES)
def test_invalid_card_is_unexpected(ask: Callable[..., Any], change: Change) -> None:
    with faulty_server(changed(change, where="/v1/model")) as server:
        asking = ask(server.url)
        for call in (asking.model, lambda: asking.decide(PIXELS)):
            with pytest.raises(UnexpectedAnswer):
                call()
        assert {request.target for request in server.seen} == {"/v1/model"}


def test_duplicate_key_is_unexpected(ask: Callable[..., Any]) -> None:
    with (
        faulty_server(lambda request: [response(body_of(request)[:-1] + b', "decision": "accept"}')]) as server,
        pytest.raises(UnexpectedAnswer, match="a key is duplicated"),
    ):
        ask(server.url).decide(FILE)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_and_cookies_are_ignored(ask: Callable[..., Any], status: str) -> None:
    with faulty_server(respond_correctly) as other:
        moved = response(b"", f"Location: {other.url}/v1/decisions?id=x", "Set-Cookie: a=b; Path=/", status=status)
        with faulty_server(plain(moved)) as server:
            asking = ask(server.url, token="lensgate_secret")  # noqa: S106 - a value of this test
            for _ in range(2):
                with pytest.raises(
                    UnexpectedAnswer, match=f"redirects to '{other.url}.*pass the URL of the gate itself"
                ):
                    asking.decide(FILE)
        assert other.seen == []
        assert len(server.seen) == 2
        assert all("cookie" not in request.header for request in server.seen)


def test_problem_document_cannot_flood_or_forge_a_log(ask: Callable[..., Any]) -> None:
    problem = {"detail": "\x1b[2J\nERROR forged " + "x" * 9_999, "code": "c" * 9_999, "request_id": "r\n" * 9_999}
    document = response(
        json.dumps(problem).encode(), "Content-Type: application/problem+json", status="400 Bad Request"
    )
    with faulty_server(plain(document)) as server, pytest.raises(GateError) as caught:
        ask(server.url).decide(FILE)
    error = caught.value
    assert error.code == "malformed_request"
    assert error.request_id
    for text in (str(error), error.detail, error.request_id):
        assert text.isprintable()
        assert len(text) < 1_100


@pytest.mark.parametrize(
    "date", ["x" * 9_999, "Mon, 99 Foo 0 99:99:99 +99999999", "-1", "nan", "1e9", "Thu, 1 Jan", ","]
)
def test_invalid_retry_after_is_ignored(ask: Callable[..., Any], date: str) -> None:
    busy = response(b"", f"Retry-After: {date}", f"Date: {date}", status="429 Too Many Requests")
    with faulty_server(plain(busy)) as server, pytest.raises(GateError) as caught:
        ask(server.url).decide(FILE)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after is None


def test_slow_upload_ends_at_the_deadline(ask: Callable[..., Any]) -> None:
    done = threading.Event()

    def take(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while connection.recv(4_096) and not done.wait(0.02):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take, args=[listener])
        thread.start()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}").decide(bytes(32 * 2**20))
        assert time.monotonic() - begun < TOO_LONG
        done.set()
        thread.join(60)


def filter_once(url: str) -> None:
    with Gate(url, timeout=SECONDS, retries=ONCE, transport=httpx.HTTPTransport(verify=NO_TLS)) as gate:
        list(GateFilter(gate).take([PIXELS, FILE], expected="glasses"))


def filter_on_a_loop(url: str) -> None:
    async def run() -> None:
        transport = httpx.AsyncHTTPTransport(verify=NO_TLS)
        async with (
            AsyncGate(url, timeout=SECONDS, retries=ONCE, transport=transport) as gate,
            aclosing(AsyncGateFilter(gate).take([PIXELS, FILE], expected="glasses")) as images,
        ):
            assert [image async for image in images] == []

    asyncio.run(run())


@pytest.mark.parametrize("take", [filter_once, filter_on_a_loop])
@pytest.mark.parametrize("name", ["a gzip bomb", "a slow body", "an endless body", "a page", "a reset"])
def test_filter_yields_no_image_of_a_faulty_server(take: Callable[[str], None], name: str) -> None:
    responder, kind = TRANSPORT[name]
    with faulty_server(responder) as server, pytest.raises(kind):
        take(server.url)


def test_unreliable_connection_loses_no_image(make: Make) -> None:
    number = itertools.count()

    def responder(request: ReceivedRequest) -> Iterator[bytes]:
        match next(number) % 5:
            case 1:
                yield RESET
            case 2:
                yield response(b"{", "Content-Length: 100")
                yield RESET
            case 3:
                yield response(b"", "Retry-After: 0", status="429 Too Many Requests")
            case 4:
                yield response(b"", "Retry-After: 0", status="503 Service Unavailable")
            case _:
                yield from respond_correctly(request)

    with faulty_server(responder) as server:
        asking = make(server.url, retries=Retries(minimum=1_000.0, first_wait=0.0))
        images = [image for _ in range(40) for image in (FILE, PIXELS)]
        outcomes = list(asking.stream(images, "no_glasses"))
        assert [outcome.accepted for outcome in outcomes] == [True] * 80
        assert len({outcome.id for outcome in outcomes}) == 80
