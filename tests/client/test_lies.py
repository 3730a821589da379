"""Servers that are broken or malicious: a clear error, soon, in little memory, and never a wrong decision."""

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

from tests.client.liar import RESET, Asked, Lie, answer, honest, lying
from tests.client.support import NO_TLS, Make
from tests.support.images import flat

FILE = b"a file"
PIXELS = flat(200)
ONCE = Retries(ratio=0.0, minimum=0.0)
SECONDS = 0.5
TOO_LONG = 5.0
TOO_MUCH = 8 * 2**20
BOMB = 64 * 2**20


def body_of(asked: Asked) -> bytes:
    return json.dumps(asked.truth).encode()


def plain(data: bytes) -> Lie:
    """Always the same bytes."""
    return lambda _: [data]


def packed(encoding: str, pack: Callable[[bytes], bytes]) -> Lie:
    """A compressed answer. It is made here, so that only the client's memory is measured later."""
    return plain(answer(pack(bytes(BOMB)), f"Content-Encoding: {encoding}"))


def on_and_on(begin: bytes, part: bytes, *, pause: float = 0.0) -> Lie:
    """An answer that never ends."""

    def lie(_: Asked) -> Iterator[bytes]:
        yield begin
        while True:
            time.sleep(pause)
            yield part

    return lie


HEAD = b"HTTP/1.1 200 OK\r\n"
MEGABYTE = bytes(2**20)
TRANSPORT: dict[str, tuple[Lie, type[GateError]]] = {
    "a gzip bomb": (packed("gzip", lambda data: gzip.compress(data, 1)), UnexpectedAnswer),
    "a deflate bomb": (packed("deflate", lambda data: zlib.compress(data, 1)), UnexpectedAnswer),
    "a brotli bomb": (packed("br", lambda data: data[:100]), UnexpectedAnswer),
    "a zstd bomb": (packed("zstd", lambda data: data[:100]), UnexpectedAnswer),
    "compressed twice": (packed("gzip, gzip", lambda data: gzip.compress(gzip.compress(data, 1))), UnexpectedAnswer),
    "a small compressed answer": (
        lambda asked: [answer(gzip.compress(body_of(asked)), "Content-Encoding: gzip")],
        UnexpectedAnswer,
    ),
    "3 GB announced": (plain(answer(b"{}", "Content-Length: 3000000000")), UnexpectedAnswer),
    "a length of 4,000 digits": (plain(answer(b"{}", f"Content-Length: {'0' * 4_000}1")), UnexpectedAnswer),
    "a body without end": (on_and_on(HEAD + b"\r\n", MEGABYTE), UnexpectedAnswer),
    "chunks without end": (
        on_and_on(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + MEGABYTE + b"\r\n"),
        UnexpectedAnswer,
    ),
    "a chunk's size without end": (
        on_and_on(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 999),
        UnexpectedAnswer,
    ),
    "headers without end": (on_and_on(HEAD, b"X-A: " + b"a" * 500 + b"\r\n"), UnexpectedAnswer),
    "a header line without end": (on_and_on(HEAD + b"X-A: ", b"a" * 999), UnexpectedAnswer),
    "a reason without end": (on_and_on(b"HTTP/1.1 200 ", b"a" * 999), UnexpectedAnswer),
    "another protocol": (plain(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), UnexpectedAnswer),
    "interim answers without end": (on_and_on(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.01), DeadlineExceeded),
    "headers that drip": (on_and_on(HEAD, b"a", pause=0.05), DeadlineExceeded),
    "a body that drips": (on_and_on(HEAD + b"\r\n", b" ", pause=0.05), DeadlineExceeded),
    "silence": (on_and_on(b"", b"", pause=0.05), DeadlineExceeded),
    "a reset": (plain(RESET), GateUnreachable),
    "a reset within the body": (lambda _: [answer(b"{", "Content-Length: 100"), RESET], GateUnreachable),
    "another protocol asked for": (
        plain(answer(b"", "Upgrade: foo", status="101 Switching Protocols")),
        UnexpectedAnswer,
    ),
    "an empty answer": (plain(answer(b"")), UnexpectedAnswer),
    "no content": (plain(answer(b"", status="204 No Content")), UnexpectedAnswer),
    "a page": (plain(answer(b"<html>login</html>")), UnexpectedAnswer),
    "arrays of arrays": (plain(answer(b"[" * 60_000)), UnexpectedAnswer),
    "objects of objects": (plain(answer(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)), UnexpectedAnswer),
    "a number of 5,000 digits": (plain(answer(b'{"id": ' + b"9" * 5_000 + b"}")), UnexpectedAnswer),
    "another encoding": (lambda asked: [answer(body_of(asked).decode().encode("utf-16"))], UnexpectedAnswer),
    "an array": (lambda asked: [answer(b"[" + body_of(asked) + b"]")], UnexpectedAnswer),
    "nothing": (plain(answer(b"null")), UnexpectedAnswer),
    "a large page of a proxy": (plain(answer(b"x" * 10**6, status="503 Service Unavailable")), NotReady),
    "a packed page of a proxy": (
        plain(answer(gzip.compress(bytes(BOMB), 1), "Content-Encoding: gzip", status="503 Service Unavailable")),
        NotReady,
    ),
}

Change = Callable[[dict[str, Any]], Any]


def put(*path: str | int, value: Any) -> Change:
    """Sets a member."""

    def change(body: dict[str, Any]) -> None:
        owner: Any = body
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    """Leaves a member out."""

    def change(body: dict[str, Any]) -> None:
        owner: Any = body
        for key in path[:-1]:
            owner = owner[key]
        del owner[path[-1]]

    return change


NO_NUMBERS: tuple[Any, ...] = (
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
ABOUT_A_FILE: dict[str, Change] = {
    **{f"the probability {str(value)[:9]!r}": put(P, value=value) for value in NO_NUMBERS},
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
    "an accepted one against the order": lambda body: body.update({P: 0.1, "label": "no_glasses"}),
    "contradicted without contradiction": lambda body: body.update(decision="discard", reason="contradicted"),
}
ABOUT_A_TENSOR: dict[str, Change] = {
    **{f"the probability {str(value)[:9]!r}": put("outputs", 0, "data", 1, value=value) for value in NO_NUMBERS},
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
    "a version that is no name": put("model_version", value="7\r\nX: y"),
    "an accepted one against its order": put("outputs", 0, "data", value=[0.9, 0.9, 0.1]),
    "a discarded confident one": put("outputs", 1, "data", value=["accept", "accept", "discard"]),
}
ABOUT_THE_MODEL: dict[str, Change] = {
    **{f"the size {size!r}": put("input", "size", value=size) for size in (0, -32, 10**9, 32.0, "32", True, None)},
    **{f"the name {name!r}": put("name", value=name) for name in ("../../v1", "a?b", "a#b", "..", "", 7, "a\r\nb")},
    **{f"no {key}": drop(key) for key in ("name", "version", "input")},
}


def changed(change: Change, *, where: str) -> Lie:
    """The truth but for a change, where the path ends so."""

    def lie(asked: Asked) -> Iterator[bytes]:
        body = asked.truth
        if asked.target.partition("?")[0].endswith(where):
            change(body)
        yield answer(json.dumps(body).encode())

    return lie


@pytest.fixture
def ask(make: Make) -> Callable[..., Any]:
    return lambda url, **options: make(url, timeout=SECONDS, retries=ONCE, **options)


@pytest.mark.parametrize(("lie", "kind"), TRANSPORT.values(), ids=TRANSPORT)
def test_an_answer_that_is_none_is_a_clear_error_soon_and_in_little_memory(
    ask: Callable[..., Any], lie: Lie, kind: type[GateError]
) -> None:
    with lying(lie) as liar:
        asking = ask(liar.url)
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


def test_of_an_answer_without_end_little_is_read(ask: Callable[..., Any]) -> None:
    lie, _ = TRANSPORT["a body without end"]
    with lying(lie) as liar:
        asking = ask(liar.url)
        for _ in range(3):
            with pytest.raises(UnexpectedAnswer, match="longer than"):
                asking.decide(FILE)
        assert liar.written < 3 * TOO_MUCH


@pytest.mark.parametrize("change", ABOUT_A_FILE.values(), ids=ABOUT_A_FILE)
def test_a_decision_about_a_file_that_is_wrong_is_none(ask: Callable[..., Any], change: Change) -> None:
    with lying(changed(change, where="/decisions")) as liar:
        asking = ask(liar.url)
        with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
            asking.decide(FILE, "glasses")
        with pytest.raises(UnexpectedAnswer):
            asking.decide_many([FILE], "glasses")


@pytest.mark.parametrize("change", ABOUT_A_TENSOR.values(), ids=ABOUT_A_TENSOR)
def test_decisions_about_a_tensor_that_are_wrong_are_none(ask: Callable[..., Any], change: Change) -> None:
    with lying(changed(change, where="/infer")) as liar:
        asking = ask(liar.url)
        with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
            asking.decide_many([PIXELS] * 3, "glasses")
        with pytest.raises(UnexpectedAnswer):
            list(asking.stream(np.stack([PIXELS] * 3), "glasses"))


@pytest.mark.parametrize("change", ABOUT_THE_MODEL.values(), ids=ABOUT_THE_MODEL)
def test_a_card_that_makes_no_sense_is_none(ask: Callable[..., Any], change: Change) -> None:
    with lying(changed(change, where="/v1/model")) as liar:
        asking = ask(liar.url)
        for call in (asking.model, lambda: asking.decide(PIXELS)):
            with pytest.raises(UnexpectedAnswer):
                call()
        assert {asked.target for asked in liar.seen} == {"/v1/model"}


def test_a_key_that_is_there_twice_is_refused(ask: Callable[..., Any]) -> None:
    with (
        lying(lambda asked: [answer(body_of(asked)[:-1] + b', "decision": "accept"}')]) as liar,
        pytest.raises(UnexpectedAnswer, match="a key is duplicated"),
    ):
        ask(liar.url).decide(FILE)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_neither_token_nor_image_follows_a_redirect_and_no_cookie_is_kept(ask: Callable[..., Any], status: str) -> None:
    with lying(honest) as other:
        moved = answer(b"", f"Location: {other.url}/v1/decisions?id=x", "Set-Cookie: a=b; Path=/", status=status)
        with lying(plain(moved)) as liar:
            asking = ask(liar.url, token="lensgate_secret")  # noqa: S106 - no secret, but a test's word
            for _ in range(2):
                with pytest.raises(UnexpectedAnswer):
                    asking.decide(FILE)
        assert other.seen == []
        assert len(liar.seen) == 2
        assert all("cookie" not in asked.header for asked in liar.seen)


def test_a_problem_document_cannot_flood_or_forge_a_log(ask: Callable[..., Any]) -> None:
    problem = {"detail": "\x1b[2J\nERROR forged " + "x" * 9_999, "code": "c" * 9_999, "request_id": "r\n" * 9_999}
    document = answer(json.dumps(problem).encode(), "Content-Type: application/problem+json", status="400 Bad Request")
    with lying(plain(document)) as liar, pytest.raises(GateError) as caught:
        ask(liar.url).decide(FILE)
    error = caught.value
    assert error.code == "malformed_request"
    assert error.request_id
    for text in (str(error), error.detail, error.request_id):
        assert text.isprintable()
        assert len(text) < 1_100


@pytest.mark.parametrize(
    "date", ["x" * 9_999, "Mon, 99 Foo 0 99:99:99 +99999999", "-1", "nan", "1e9", "Thu, 1 Jan", ","]
)
def test_a_retry_after_that_makes_no_sense_is_none(ask: Callable[..., Any], date: str) -> None:
    busy = answer(b"", f"Retry-After: {date}", f"Date: {date}", status="429 Too Many Requests")
    with lying(plain(busy)) as liar, pytest.raises(GateError) as caught:
        ask(liar.url).decide(FILE)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after is None


def test_an_upload_that_is_taken_byte_by_byte_ends_in_time(ask: Callable[..., Any]) -> None:
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
        thread.join(10)


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
@pytest.mark.parametrize("name", ["a gzip bomb", "a body that drips", "a body without end", "a page", "a reset"])
def test_a_filter_hands_out_nothing_on_the_word_of_a_liar(take: Callable[[str], None], name: str) -> None:
    lie, kind = TRANSPORT[name]
    with lying(lie) as liar, pytest.raises(kind):
        take(liar.url)


def test_a_connection_that_breaks_now_and_then_loses_no_image(make: Make) -> None:
    number = itertools.count()

    def lie(asked: Asked) -> Iterator[bytes]:
        match next(number) % 5:
            case 1:
                yield RESET
            case 2:
                yield answer(b"{", "Content-Length: 100")
                yield RESET
            case 3:
                yield answer(b"", "Retry-After: 0", status="429 Too Many Requests")
            case 4:
                yield answer(b"", "Retry-After: 0", status="503 Service Unavailable")
            case _:
                yield from honest(asked)

    with lying(lie) as liar:
        asking = make(liar.url, retries=Retries(minimum=1_000.0, first_wait=0.0))
        images = [image for _ in range(40) for image in (FILE, PIXELS)]
        outcomes = list(asking.stream(images, "no_glasses"))
        assert [outcome.accepted for outcome in outcomes] == [True] * 80
        assert len({outcome.id for outcome in outcomes}) == 80
