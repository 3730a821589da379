"""Faults between a V2 request and its answer, over the wire."""

import gzip
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import SettingsError
from service.inference.admission import Admission
from service.settings import Settings
from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

INFER = "/v2/models/glasses/infer"
EDGE = 32


def request(pixels: bytes = b"", *, count: int = 1, **changes: Any) -> tuple[bytes, dict[str, str]]:
    size = count * EDGE * EDGE * 3
    pixels = pixels or bytes(size)
    image = {"name": "image", "datatype": "UINT8", "shape": [count, EDGE, EDGE, 3]}
    head = {"inputs": [{**image, "parameters": {"binary_data_size": len(pixels)}}], **changes}
    text = orjson.dumps(head)
    return text + pixels, {"Inference-Header-Content-Length": str(len(text))}


def ask(service: Running, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return service.client.post(INFER, content=body, headers=headers)


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running_service() as running:
        yield running
        # Every request has released its permit.
        wait_until(lambda: running.inflight == 0 and running.runtime.admission.bytes == 0)


def check_problem(answer: httpx.Response, status: int, code: str) -> str:
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["error"] == problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return str(problem["error"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/nothing", 404, "not_found"),
        ("GET", "/v2/models/hats", 404, "not_found"),
        ("POST", "/v2/models/hats/infer", 404, "not_found"),
        ("POST", "/v2/models/glasses/versions/9/infer", 404, "not_found"),
        ("GET", INFER, 405, "method_not_allowed"),
        ("POST", INFER, 400, "malformed_request"),
        ("POST", "/v2/repository/models/glasses/load", 400, "malformed_request"),
    ],
)
def test_every_error_is_a_problem_with_the_text_where_clients_look(
    served: Running, method: str, path: str, status: int, code: str
) -> None:
    check_problem(served.client.request(method, path), status, code)


def test_errors_outside_v2_have_no_member_error(served: Running) -> None:
    assert "error" not in served.client.get("/v1/nothing").json()
    assert "error" not in served.client.get("/v20").json()


@pytest.mark.parametrize("length", ["", "x", "-1", "1.0", "1e3", "99999999999", "9" * 5000, "0x10", "²"])
def test_an_absurd_header_length_is_a_400(served: Running, length: str) -> None:
    body, _ = request()
    headers = [(b"Inference-Header-Content-Length", length.encode("latin-1"))]
    answer = served.client.post(INFER, content=body, headers=headers)
    assert "Inference-Header-Content-Length" in check_problem(answer, 400, "malformed_request")


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_corrupt_compressed_body_is_400(served: Running, name: str) -> None:
    body, headers = request()
    whole = gzip.compress(body) if name == "gzip" else zlib.compress(body)
    headers["Content-Encoding"] = name
    assert ask(served, whole, headers).status_code == 200
    for bad in (b"", b"nonsense", whole[:-9], whole[: len(whole) // 2], whole + b"x", whole + whole, bytes(100_000)):
        check_problem(ask(served, bad, headers), 400, "malformed_request")


@pytest.mark.parametrize("name", ["br", "gzip, gzip", "zstd"])
def test_an_encoding_that_is_not_known_is_a_400(served: Running, name: str) -> None:
    body, headers = request()
    error = check_problem(ask(served, body, {**headers, "Content-Encoding": name}), 400, "malformed_request")
    assert "gzip" in error


def test_identity_is_no_encoding(served: Running) -> None:
    body, headers = request()
    assert ask(served, body, {**headers, "Content-Encoding": "identity"}).status_code == 200


def test_a_compression_bomb_is_a_413_and_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    megabyte = 2**20
    with running_service(max_tensor_bytes=2 * megabyte, max_inflight_bytes=16 * megabyte) as service:
        compressor = zlib.compressobj(9)
        bomb = b"".join(compressor.compress(bytes(megabyte)) for _ in range(100)) + compressor.flush()
        assert len(bomb) < megabyte
        taken = [0]
        # The admission counts the bytes that it holds in this member.
        counted = property(lambda _: taken[-1], lambda _, size: taken.append(size))
        monkeypatch.setattr(Admission, "bytes", counted, raising=False)
        check_problem(ask(service, bomb, {"Content-Encoding": "deflate"}), 413, "body_too_large")
        assert 0 < max(taken) <= 2 * megabyte
        assert service.runtime.admission.bytes == 0


def test_a_body_has_a_limit_of_its_own_from_the_header_on_and_while_it_streams() -> None:
    with running_service(max_tensor_bytes=30_000, max_body_bytes=1000) as service:
        body, headers = request(count=9)
        assert ask(service, body, headers).status_code == 200
        body, headers = request(count=10)
        check_problem(ask(service, body, headers), 413, "body_too_large")
        parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
        check_problem(service.client.post(INFER, content=parts, headers=headers), 413, "body_too_large")


def test_the_limit_of_a_body_is_within_that_of_all() -> None:
    with pytest.raises(SettingsError, match="LENSGATE_MAX_TENSOR_BYTES"):
        Settings.load({}, {"LENSGATE_MAX_TENSOR_BYTES": str(2**30)})


def test_more_images_than_are_ever_in_flight_are_a_413_and_more_than_fit_now_a_429() -> None:
    with running_service(max_inflight_images=4) as service, ThreadPoolExecutor(1) as pool:
        check_problem(ask(service, *request(count=5)), 413, "body_too_large")
        service.scorer.go.clear()
        inside = pool.submit(ask, service, *request(count=3))
        assert service.scorer.entered.wait(TIMEOUT)
        wait_until(lambda: service.inflight == 3)
        full = ask(service, *request(count=2))
        check_problem(full, 429, "overloaded")
        assert full.headers["retry-after"] == "1"
        assert service.metric("lensgate_shed_total", reason="images") == 1
        service.scorer.go.set()
        assert inside.result(TIMEOUT).status_code == 200
        assert ask(service, *request(count=4)).status_code == 200


def test_a_large_request_is_scored_in_runs_of_what_the_model_takes() -> None:
    with running_service(max_batch_size=4) as service:
        answer = ask(service, *request(bytes(range(256)) * 120, count=10))
        assert len(answer.json()["outputs"][0]["data"]) == 10
        assert sorted(service.scorer.batches) == [2, 4, 4]


def test_the_first_file_at_fault_is_counted_once(service: Running) -> None:
    files = [encode(flat(51)), b"%PDF-1.7", encode(flat(51))]
    packed = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    tensor = {
        "name": "encoded_image",
        "datatype": "BYTES",
        "shape": [3],
        "parameters": {"binary_data_size": len(packed)},
    }
    text = orjson.dumps({"inputs": [tensor]})
    answer = ask(service, text + packed, {"Inference-Header-Content-Length": str(len(text))})
    assert check_problem(answer, 422, "unsupported_image").startswith("encoded_image[1]: ")
    assert service.metric("lensgate_image_errors_total", code="unsupported_image") == 1
    assert service.scorer.batches == []
    wait_until(lambda: service.inflight == 0 and service.runtime.admission.bytes == 0)


def test_unexpected_exception_is_500_without_details(service: Running) -> None:
    service.scorer.fault = lambda _: RuntimeError("a secret detail")
    answer = ask(service, *request())
    check_problem(answer, 500, "internal")
    assert "secret" not in answer.text


def test_a_draining_service_is_not_ready(service: Running) -> None:
    service.runtime.drain()
    check_problem(service.client.get("/v2/health/ready"), 503, "draining")
    check_problem(service.client.get("/v2/models/glasses/ready"), 503, "draining")
    check_problem(ask(service, *request()), 503, "draining")
    assert service.client.get("/v2/health/live").status_code == 200
    (entry,) = service.client.post("/v2/repository/index").json()
    assert entry["state"] == "UNAVAILABLE"
    assert service.client.post("/v2/repository/index", json={"ready": True}).json() == []


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/v2/repository/index", {"raedy": True}, "did you mean 'ready'?"),
        ("/v2/repository/index", {"ready": "false"}, "ready: must be true or false"),
        (
            "/v2/systemsharedmemory/region/a/register",
            {"key": "a", "byte_size": 8, "ofset": 4096},
            "did you mean 'offset'?",
        ),
    ],
)
def test_a_misspelt_or_wrong_member_of_a_small_body_is_an_error(
    served: Running, path: str, body: dict[str, Any], text: str
) -> None:
    assert text in check_problem(served.client.post(path, json=body), 400, "malformed_request")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"ready": true, "ready": false}', "'ready' is repeated"),
        (b'{"ready": ', "the body is not JSON"),
        (b"[" * 30_000, "with less nesting"),
        (b'{"ready": ' + b"9" * 5_000 + b"}", "shorter numbers"),
        (b'{"ready": "\xff"}', "send JSON in UTF-8"),
        ('{"ready": true}'.encode("utf-16"), "send JSON in UTF-8"),
    ],
)
def test_a_small_body_that_no_parser_reads_alike_is_an_error(served: Running, body: bytes, text: str) -> None:
    assert text in check_problem(served.client.post("/v2/repository/index", content=body), 400, "malformed_request")


@pytest.mark.parametrize("off", [-5, 5, None])
def test_a_wrong_length_of_the_json_is_told_where_it_is_set(served: Running, off: int | None) -> None:
    body, headers = request()
    wrong = {} if off is None else {name: str(int(length) + off) for name, length in headers.items()}
    text = check_problem(ask(served, body, wrong), 400, "malformed_request")
    assert "Inference-Header-Content-Length must be" in text


def test_two_lengths_of_the_json_are_refused(served: Running) -> None:
    body, headers = request()
    ((name, length),) = headers.items()
    answer = served.client.post(INFER, content=body, headers=[(name, length), (name, "2")])
    assert "has two values" in check_problem(answer, 400, "malformed_request")
    assert served.client.post(INFER, content=body, headers=[(name, length)] * 2).status_code == 200


def test_a_timeout_in_seconds_instead_of_microseconds_is_shown_with_its_unit(served: Running) -> None:
    text = check_problem(ask(served, *request(parameters={"timeout": 5})), 504, "deadline_exceeded")
    assert text == "there was no answer within 0.005 ms"


def test_requests_are_counted_by_route_and_never_by_name(served: Running) -> None:
    route = "/v2/models/{name}/versions/{version}/infer"
    before = served.metric("lensgate_requests_total", route=route, status="404")
    served.client.post("/v2/models/invented/versions/9/infer")
    assert served.metric("lensgate_requests_total", route=route, status="404") == before + 1
    assert served.metric("lensgate_requests_total", route="/v2/models/{name}/infer", status="429") == 0
    assert "invented" not in served.client.get("/metrics").text


def test_the_documentation_names_the_protocol(served: Running) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    infer = paths["/v2/models/{name}/infer"]["post"]
    kinds = ["application/json", "application/octet-stream"]
    assert list(infer["requestBody"]["content"]) == list(infer["responses"]["200"]["content"]) == kinds
    assert set(infer["responses"]) == {
        *("200", "400", "401", "403", "404", "408", "413", "422", "429", "500", "503", "504")
    }
    assert {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{name}"} <= set(paths)


def test_invalid_registration_is_400() -> None:
    bodies = (b"x", b"[]", b'{"key": 1}', b'{"key": "a"}', b'{"key": "a", "byte_size": "8"}', bytes(70_000))
    with running_service(shared_memory=True) as service:
        for body in bodies:
            answer = service.client.post("/v2/systemsharedmemory/region/r/register", content=body)
            assert answer.status_code in (400, 413)
            assert answer.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200) | st.just(request()[0]),
    length=st.none() | st.integers(0, 4000).map(str) | st.text("0123456789abc", max_size=6),
    encoding=st.none() | st.sampled_from(["gzip", "deflate", "identity", "nonsense"]),
)
def test_any_body_is_200_400_or_413(served: Running, body: bytes, length: str | None, encoding: str | None) -> None:
    given_headers = {"Inference-Header-Content-Length": length, "Content-Encoding": encoding}
    answer = ask(served, body, {name: value for name, value in given_headers.items() if value is not None})
    assert answer.status_code in (200, 400, 413)
    if answer.status_code == 200:
        assert (body, encoding in (None, "identity")) == (request()[0], True)


def test_a_body_cut_off_frees_its_place(served: Running) -> None:
    body, headers = request()
    where = urlsplit(served.url)
    with socket.create_connection((where.hostname, where.port), timeout=TIMEOUT) as connection:
        lines = [f"POST {INFER} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:500])
        wait_until(lambda: served.inflight == 1)
    wait_until(lambda: served.inflight == 0)
    assert served.runtime.admission.bytes == 0


def test_pixels_go_to_the_model_as_they_came(served: Running) -> None:
    seen: list[Any] = []
    served.scorer.fault = lambda images: seen.append(images.copy())
    try:
        pixels = np.random.default_rng(1).integers(0, 256, EDGE * EDGE * 3, np.uint8).tobytes()
        assert ask(served, *request(pixels)).status_code == 200
    finally:
        served.scorer.fault = lambda _: None
    assert seen[0].tobytes() == pixels
