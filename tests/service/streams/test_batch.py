"""Many images in one request, asked of a real server around a fake model."""

import contextlib
import itertools
import json
import logging
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.api.batch.session import BatchSession
from tests.service.streams.uploads import (
    BOUNDARY,
    FORM_TYPE,
    TAR_TYPE,
    Caller,
    Member,
    archive,
    form,
    member,
    noise,
    part,
)
from tests.support.images import encode, flat, portrait
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

LEVELS = (0, 51, 128, 204, 255)
LONG_MS = 1_000_000
"""A deadline longer than any wait of a test, so that only the departure of the caller can free its places."""
FACES = [(f"{level}.png", encode(flat(level))) for level in LEVELS]
SUMMARY = {"summary": {"accept": 4, "discard": 1, "error": 0}}
WRITERS = [(archive, TAR_TYPE), (form, FORM_TYPE)]


def send(service: Running, body: bytes | Iterator[bytes], kind: str = TAR_TYPE, **query: str) -> list[dict[str, Any]]:
    """The lines of the answer."""
    answer = service.client.post("/v1/decisions/batch", content=body, headers={"Content-Type": kind}, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def code(line: dict[str, Any]) -> str:
    return str(line["error"]["code"])


def is_free(service: Running) -> bool:
    admission = service.runtime.admission
    return (admission.images, admission.bytes, admission.streams) == (0, 0, 0)


@pytest.fixture(scope="module")
def steady() -> Iterator[Running]:
    """A service that each test leaves as it was."""
    with running_service() as running:
        yield running


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_each_line_is_what_the_image_alone_is_answered(steady: Running, write: Any, kind: str) -> None:
    *lines, summary = send(steady, write(FACES), kind, expected="glasses")
    assert lines == [steady.post(content, id=name, expected="glasses").json() for name, content in FACES]
    assert summary == {"summary": {"accept": 2, "discard": 3, "error": 0}}


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_content_length_and_chunked_bodies_have_equal_responses(steady: Running, write: Any, kind: str) -> None:
    body = write(FACES)
    chunks = (body[start : start + 700] for start in range(0, len(body), 700))
    assert send(steady, body, kind) == send(steady, chunks, kind)


def test_upload_without_images_gets_a_summary_of_zeros(steady: Running) -> None:
    nothing = [{"summary": {"accept": 0, "discard": 0, "error": 0}}]
    ignored = [{"summary": {"accept": 0, "discard": 0, "error": 0, "ignored": 2}}]
    assert send(steady, archive([("a.cls", b"1"), ("a.json", b"{}")])) == ignored
    assert send(steady, archive([])) == nothing
    assert send(steady, b"--" + BOUNDARY + b"--\r\n", FORM_TYPE) == nothing


def test_the_order_is_kept_with_slow_and_fast_images() -> None:
    slow = encode(portrait(1500))
    faces = [(f"{index}.png", slow if index % 5 == 0 else encode(flat(index))) for index in range(20)]
    with running_service(decode_threads=4, max_batch_size=3) as service:
        *lines, _ = send(service, archive(faces))
    assert [line["id"] for line in lines] == [name for name, _ in faces]
    fast = [(index, line["glasses_probability"]) for index, line in enumerate(lines) if index % 5]
    assert [found for _, found in fast] == pytest.approx([index / 255 for index, _ in fast], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        (TAR_TYPE, [member(*face) for face in FACES] + [bytes(1024)]),
        # A file of a form is complete with the boundary that follows it.
        (FORM_TYPE, [part(*face) + b"--" + BOUNDARY + b"\r\n" for face in FACES]),
    ],
)
def test_a_line_comes_while_the_upload_goes_on(steady: Running, kind: str, pieces: list[bytes]) -> None:
    boundary = len(BOUNDARY) + 4
    with Caller(steady.url, kind) as caller:
        for index, (name, _) in enumerate(FACES):
            caller.send(pieces[index][boundary if kind == FORM_TYPE and index else 0 :])
            assert caller.line()["id"] == name
        if kind == TAR_TYPE:
            caller.send(pieces[-1])
        else:
            caller.send(part("", b"")[boundary:] + b"--" + BOUNDARY + b"--\r\n")
            assert code(caller.line()) == "empty_image"
        caller.end()
        assert "summary" in caller.line()
        assert caller.line() == {}
    wait_until(lambda: is_free(steady))


def test_expect_100_continue_is_answered_before_the_response(steady: Running) -> None:
    address = urlsplit(steady.url)
    body = archive(FACES)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        head = f"POST /v1/decisions/batch HTTP/1.1\r\nHost: x\r\nContent-Type: {TAR_TYPE}\r\nExpect: 100-continue\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"0\r\n\r\n")


def test_an_http_1_0_caller_gets_lines_without_chunks(steady: Running) -> None:
    address = urlsplit(steady.url)
    body = archive(FACES)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        head = f"POST /v1/decisions/batch HTTP/1.0\r\nContent-Type: {TAR_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    headers, _, lines = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers
    assert json.loads(lines.splitlines()[-1]) == SUMMARY
    assert len(lines.splitlines()) == len(FACES) + 1


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_invalid_image_is_an_error_of_its_own_line(service: Running, write: Any, kind: str) -> None:
    bad = [("a.png", b""), ("b.png", b"text"), ("c.png", FACES[0][1][:60]), ("d.png", encode(flat(0, 8)))]
    mixed = list(itertools.chain.from_iterable(zip(FACES, bad, strict=False)))
    *lines, summary = send(service, write(mixed), kind)
    assert [line["id"] for line in lines] == [name for name, _ in mixed]
    assert [code(line) for line in lines[1::2]] == [
        "empty_image",
        "unsupported_image",
        "corrupt_image",
        "image_too_small",
    ]
    assert all("decision" in line for line in lines[::2])
    assert summary == {"summary": {"accept": 3, "discard": 1, "error": 4}}
    assert service.metric("lensgate_image_errors_total", code="corrupt_image") == 1
    assert service.metric("lensgate_decisions_total", decision="discard", label="glasses", reason="uncertain") == 1


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_a_failed_image_is_logged_as_if_it_were_sent_alone(
    write: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {"text.png": b"text", "large.png": noise(300_000)}
    with running_service(max_body_bytes=50_000) as service, caplog.at_level(logging.INFO, "service.access"):
        for name, image in bad.items():
            service.post(image, id=name, source="gan-7")
        answers = send(service, write([*bad.items(), FACES[0]]), kind, source="gan-7")
        wait_until(lambda: len(found(caplog)) == 5)
    first, second, *of_upload, whole = found(caplog)
    for alone, line, answer in zip((first, second), of_upload, answers, strict=False):
        own = {"request_id", "route", "milliseconds", "stages", "detail"}
        assert {name: line[name] for name in line.keys() - own} == {name: alone[name] for name in alone.keys() - own}
        assert (line["request_id"], line["route"]) == (whole["request_id"], "/v1/decisions/batch")
        assert (line["code"], line["detail"]) == (answer["error"]["code"], answer["error"]["detail"])
        assert line["milliseconds"] >= 0
    assert [line["id"] for line in of_upload] == list(bad)
    assert (whole["status"], whole["error"], "code" in whole) == (200, 2, False)


def found(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the lines about requests and images."""
    return [record.__dict__["fields"] for record in caplog.records if record.name == "service.access"]


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_an_image_that_is_too_large_is_skipped(write: Any, kind: str) -> None:
    with running_service(max_body_bytes=50_000, max_inflight_bytes=60_000) as service:
        mixed = [FACES[0], ("large.png", noise(300_000)), FACES[4], ("more.png", noise(50_001)), FACES[1]]
        *lines, summary = send(service, write(mixed), kind)
        assert [code(line) if "error" in line else line["id"] for line in lines] == [
            "0.png",
            "body_too_large",
            "255.png",
            "body_too_large",
            "51.png",
        ]
        assert lines[1]["id"] == "large.png"
        assert summary == {"summary": {"accept": 3, "discard": 0, "error": 2}}
        assert is_free(service)


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_a_name_that_can_be_no_id_costs_the_line_its_id_alone(steady: Running, write: Any, kind: str) -> None:
    face = FACES[0][1]
    names = ["a\x01.png", "x" * 125 + ".png", "same.png", "same.png", "é" * 124 + ".png"]
    *lines, summary = send(steady, write([(name, face) for name in names]), kind)
    assert [line["id"] for line in lines] == [None, None, "same.png", "same.png", names[-1]]
    assert [line["decision"] for line in lines] == ["accept"] * 5
    assert summary == {"summary": {"accept": 5, "discard": 0, "error": 0}}


def test_companions_are_ignored_wherever_their_image_stands(steady: Running) -> None:
    dark, light = FACES[0][1], FACES[4][1]
    names = ["a.cond.png", "a.mask.png", "a.png", "a.json", "b.png", "b.mask.png", "c.mask.png", "d.x.png", "d.y.png"]
    members = [(name, dark if "." in name[2:].replace(".png", "", 1) else light) for name in names]
    *lines, summary = send(steady, archive(members))
    assert [line["id"] for line in lines] == ["a.png", "b.png", "c.mask.png", "d.x.png", "d.y.png"]
    assert summary["summary"]["ignored"] == 4
    assert is_free(steady)


def test_held_companions_of_concurrent_uploads_do_not_deadlock() -> None:
    face = FACES[0][1]
    with running_service(max_inflight_images=2, max_body_bytes=20_000, max_inflight_bytes=20_000) as service:
        members = [(f"{key}.{word}.png", face) for key in "abcdef" for word in ("x", "y", "z")]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: send(service, archive(members)), range(6)))
        assert all([line.get("id") for line in answer[:-1]] == [name for name, _ in members] for answer in answers)
        wait_until(lambda: is_free(service))


def test_held_image_is_decided_where_the_upload_breaks_off(steady: Running) -> None:
    *lines, fault, summary = send(steady, member("a.mask.png", FACES[0][1]) + b"x" * 512)
    assert [line["id"] for line in lines] == ["a.mask.png"]
    assert (code(fault), summary["summary"]["accept"]) == ("malformed_request", 1)
    assert is_free(steady)


def test_hard_link_is_an_error_line(steady: Running) -> None:
    link = tarfile.TarInfo("b.png")
    link.type, link.linkname = tarfile.LNKTYPE, "a.png"
    body = member("a.png", FACES[0][1]) + link.tobuf() + member("c.png", FACES[0][1]) + bytes(1024)
    *lines, summary = send(steady, body)
    assert [line["id"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert code(lines[1]) == "missing_image"
    assert "--hard-dereference" in lines[1]["error"]["detail"]
    assert summary == {"summary": {"accept": 2, "discard": 0, "error": 1}}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (TAR_TYPE, b"".join(member(*face) for face in FACES)[:-600]),
        (TAR_TYPE, b"".join(member(*face) for face in FACES) + b"x" * 512),
        (TAR_TYPE, b"".join(member(*face) for face in FACES)),
        (FORM_TYPE, form(FACES)[:-10]),
        (FORM_TYPE, form(FACES)[:-3] + b"x"),
    ],
)
def test_an_upload_that_ends_in_the_middle_is_answered_up_to_there(steady: Running, kind: str, body: bytes) -> None:
    *lines, fault, summary = send(steady, body, kind)
    assert len(lines) >= 3
    assert [line["id"] for line in lines] == [name for name, _ in FACES][: len(lines)]
    assert "id" not in fault
    assert code(fault) == "malformed_request"
    assert summary["summary"]["accept"] + summary["summary"]["discard"] == len(lines)
    assert is_free(steady)


def test_summary_arrives_while_the_caller_still_sends(steady: Running) -> None:
    with Caller(steady.url) as caller:
        caller.send(member(*FACES[0]) + b"x" * 512)
        with contextlib.suppress(OSError):
            for _ in range(100):
                caller.send(noise(65536))
        assert [*map(sorted, caller.rest())][-2:] == [["error"], ["summary"]]
        # The rest of the upload is not parsed as a request: the connection ends.
        with contextlib.suppress(ConnectionResetError):
            assert caller.socket.recv(100) == b""


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, "multipart/form-data or application/x-tar"),
        ({"Content-Type": "image/png"}, "multipart/form-data or application/x-tar"),
        ({"Content-Type": "multipart/form-data"}, "boundary"),
        ({"Content-Type": TAR_TYPE, "Content-Encoding": "gzip"}, "Content-Encoding"),
        ([("Content-Type", TAR_TYPE), ("Content-Type", FORM_TYPE)], "Content-Type has two values"),
        ({"Content-Type": "multipart/form-data; boundary=a; boundary=b"}, "'boundary' twice"),
        (
            [("Content-Type", TAR_TYPE), ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")],
            "Content-Encoding has two values",
        ),
    ],
)
def test_unsupported_body_is_400_before_it_is_sent(
    steady: Running, headers: dict[str, str] | list[tuple[str, str]], named: str
) -> None:
    with httpx.Client(base_url=steady.url, timeout=TIMEOUT, trust_env=False) as client:
        answer = client.post("/v1/decisions/batch", headers=headers, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert named in answer.json()["detail"]


def test_a_query_that_does_not_fit_is_a_400_that_names_it(steady: Running) -> None:
    answer = steady.client.post("/v1/decisions/batch?expected=hats", headers={"Content-Type": TAR_TYPE})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert "expected" in answer.json()["detail"]


def test_each_image_has_its_deadline_from_its_last_byte_on(service: Running) -> None:
    service.scorer.go.clear()
    with Caller(service.url, query="?timeout_ms=100") as caller:
        caller.send(member(*FACES[0]))
        assert code(caller.line()) == "deadline_exceeded"
        service.scorer.go.set()
        time.sleep(0.2)
        caller.send(member(*FACES[1]) + bytes(1024))
        assert caller.line()["decision"] == "accept"
        caller.end()
        assert caller.rest() == [{"summary": {"accept": 1, "discard": 0, "error": 1}}]


def test_unexpected_exception_is_an_internal_error_of_one_line(service: Running) -> None:
    service.scorer.fault = lambda images: ValueError("of ours") if images.max() == 255 else None
    lines = send(service, archive(FACES))
    assert code(lines[4]) == "internal"
    assert "of ours" not in lines[4]["error"]["detail"]
    assert lines[5] == {"summary": {"accept": 3, "discard": 1, "error": 1}}
    statuses = ("200", "400", "422", "500")
    counted = {status: service.metric("lensgate_upload_images_total", status=status) for status in statuses}
    assert counted == {"200": 4, "400": 0, "422": 0, "500": 1}, "the upload has status 200: its images spend the budget"


def test_an_upload_that_ends_by_a_fault_does_not_claim_to_be_complete(
    service: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: BatchSession) -> None:
        raise ValueError("of ours")

    monkeypatch.setattr(BatchSession, "run", fail)
    with caplog.at_level(logging.INFO, "service.access"):
        service.client.post("/v1/decisions/batch", content=b"", headers={"Content-Type": TAR_TYPE})
        wait_until(lambda: any("ended" in line for line in found(caplog)))
    *_, line = found(caplog)
    assert (line["ended"], line["code"], "of ours" in line["detail"]) == ("internal", "internal", False)


def test_stalled_upload_times_out() -> None:
    with running_service(timeout_ms=300) as service, Caller(service.url) as caller:
        caller.send(member(*FACES[0]) + member(*FACES[1])[:600])
        assert caller.line()["id"] == "0.png"
        fault, summary = caller.rest()
        assert (code(fault), summary) == ("deadline_exceeded", {"summary": {"accept": 1, "discard": 0, "error": 0}})
        wait_until(lambda: is_free(service))


def test_image_that_arrives_too_slowly_times_out() -> None:
    with running_service(timeout_ms=300) as service, Caller(service.url) as caller:
        caller.send(member(*FACES[0])[:520])
        with contextlib.suppress(OSError):
            while True:
                caller.send(b"\0")
                time.sleep(0.05)
                if is_free(service):
                    break
        assert code(caller.line()) == "deadline_exceeded"


def test_caller_that_does_not_read_is_disconnected() -> None:
    with running_service(timeout_ms=500, max_body_bytes=100) as service:
        line = member("x" * 95 + ".png", bytes(101))
        with Caller(service.url, receive_buffer=4096) as caller, pytest.raises(OSError):
            for _ in range(1000):
                caller.send(line * 200)
        wait_until(lambda: is_free(service))


def test_disconnect_releases_permits_before_the_deadline() -> None:
    with running_service(timeout_ms=LONG_MS) as service:
        service.scorer.go.clear()
        with Caller(service.url) as caller:
            caller.send(b"".join(member(*face) for face in FACES[:3]) + member(*FACES[3])[:700])
            wait_until(lambda: service.inflight == 4)
        wait_until(lambda: is_free(service))
        assert service.scorer.batches == []
        service.scorer.go.set()
        wait_until(lambda: service.queued == 0)
        assert sum(service.scorer.batches) < 4


def push_until_held(caller: Caller, piece: bytes, *, most: int) -> int:
    """Bytes that go in before the connection takes no more for half a second."""
    caller.socket.settimeout(0.5)
    sent = 0
    framed = b"%x\r\n%b\r\n" % (len(piece), piece)
    while sent < most:
        try:
            sent += caller.socket.send(framed[sent % len(framed) :])
        except TimeoutError:
            break
    return sent


@pytest.mark.parametrize("reset", [True, False])
def test_slow_model_applies_back_pressure_and_a_disconnect_is_detected(reset: bool) -> None:
    with running_service(decode_threads=2, timeout_ms=LONG_MS) as service:
        service.scorer.go.clear()
        face = encode(portrait(512))
        with Caller(service.url) as caller:
            sent = push_until_held(caller, member("a.png", face), most=200_000_000)
            assert 6 * len(face) < sent < 30_000_000
            assert service.inflight == 6
            assert service.runtime.admission.bytes <= 6 * len(face)
            if reset:
                caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not reset:
            # The end of the upload is behind unread bytes, so the next line detects it.
            service.scorer.go.set()
        wait_until(lambda: is_free(service))
        assert sum(service.scorer.batches) <= (0 if reset else 12)


def test_concurrent_uploads_with_little_capacity_do_not_deadlock() -> None:
    faces = [(f"{index}.png", encode(flat(index * 20), "PNG")) for index in range(12)]
    most = 20_000
    with running_service(max_inflight_images=2, max_body_bytes=most, max_inflight_bytes=most) as service:
        jobs = [(write, kind) for write, kind in WRITERS for _ in range(5)]
        with ThreadPoolExecutor(len(jobs)) as pool:
            answers = list(pool.map(lambda job: send(service, job[0](faces), job[1]), jobs))
        assert all([line.get("id") for line in answer[:-1]] == [name for name, _ in faces] for answer in answers)
        assert all(answer[-1]["summary"]["error"] == 0 for answer in answers)
        wait_until(lambda: is_free(service))


def test_partial_images_of_several_uploads_do_not_deadlock() -> None:
    with running_service(max_body_bytes=5_000, max_inflight_bytes=10_000) as service, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(service.url, FORM_TYPE)) for _ in range(6)]
        body = form([("a.png", encode(portrait(36))), *FACES])
        for caller in callers:
            caller.send(body[:200])
        wait_until(lambda: service.inflight)
        for caller in callers:
            caller.send(body[200:2000])
        for caller in callers:
            caller.send(body[2000:])
            caller.end()
        assert all(len(caller.rest()) == 7 for caller in callers)


def endless(stop: threading.Event, members: list[Member]) -> Iterator[bytes]:
    while not stop.is_set():
        yield b"".join(member(*found) for found in members)
    yield bytes(1024)


def test_single_requests_are_admitted_beside_uploads() -> None:
    with running_service(max_inflight_images=8, max_body_bytes=40_000, max_inflight_bytes=80_000) as service:
        stop = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            streams = [pool.submit(send, service, endless(stop, FACES)) for _ in range(2)]
            wait_until(lambda: service.runtime.admission.streams == 2 and service.inflight >= 4)
            answers = [service.post(content).status_code for _, content in FACES]
            stop.set()
            lines = [stream.result(TIMEOUT) for stream in streams]
        assert set(answers) == {200}
        assert all(found[-1]["summary"]["error"] == 0 for found in lines)


def test_streams_beyond_the_limit_are_overloaded() -> None:
    with running_service(max_streams=1) as service:
        with Caller(service.url) as caller:
            caller.send(member(*FACES[0]))
            assert caller.line()["id"] == "0.png"
            refused = service.client.post("/v1/decisions/batch", headers={"Content-Type": TAR_TYPE}, content=b"")
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert "retry-after" in refused.headers
        assert service.metric("lensgate_shed_total", reason="streams") == 1
        wait_until(lambda: is_free(service))
        assert send(service, archive(FACES))[-1] == SUMMARY


def test_drain_answers_admitted_images_and_ends_with_an_error_line(service: Running) -> None:
    service.scorer.go.clear()
    with Caller(service.url) as caller:
        caller.send(member(*FACES[0]) + member(*FACES[1]) + member(*FACES[2])[:600])
        wait_until(lambda: service.inflight == 3)
        service.runtime.drain()
        wait_until(lambda: service.inflight == 2)
        service.scorer.go.set()
        *lines, fault, summary = caller.rest()
        assert [line["id"] for line in lines] == ["0.png", "51.png"]
        assert (code(fault), summary) == ("draining", {"summary": {"accept": 2, "discard": 0, "error": 0}})
    refused = service.client.post("/v1/decisions/batch", headers={"Content-Type": TAR_TYPE}, content=b"")
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")


def test_it_is_documented_with_both_types_and_the_lines_of_its_answer(steady: Running) -> None:
    operation = steady.client.get("/openapi.json").json()["paths"]["/v1/decisions/batch"]["post"]
    assert set(operation["requestBody"]["content"]) == {TAR_TYPE, "multipart/form-data"}
    assert "application/x-ndjson" in operation["responses"]["200"]["content"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {"expected", "timeout_ms", "source"}
