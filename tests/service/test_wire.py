"""Requests and answers on the wire, with a real server around a fake model."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from gate import Label
from tests.support.images import encode, flat, png_of, portrait
from tests.support.servers import TIMEOUT, Running, read_metric, running_service, wait_until

WHITE = encode(flat(255))
FIFTH = encode(flat(51))


def test_decision_has_every_documented_member(service: Running) -> None:
    answer = service.post(FIFTH, id="portrait-7")
    assert answer.status_code == 200
    assert answer.json() == {
        "id": "portrait-7",
        "glasses_probability": 0.2,
        "label": "no_glasses",
        "decision": "accept",
        "reason": "confident",
        "novelty": None,
        "band": {"low": 0.4, "high": 0.6},
        "model": {"name": "glasses", "version": "1"},
    }


def test_without_an_id_one_is_made_up_that_sorts_by_time(service: Running) -> None:
    ids = [service.post(FIFTH).json()["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert {len(identity) for identity in ids} == {26}
    assert [identity[:9] for identity in ids] == sorted(identity[:9] for identity in ids)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("content_type", [None, "image/png", "text/html", "nonsense"])
def test_format_is_detected_from_the_content(service: Running, kind: str, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = service.client.post("/v1/decisions", content=encode(flat(51), kind), headers=headers)
    assert answer.json()["glasses_probability"] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("level", "expected", "decision", "reason"),
    [
        (51, "no_glasses", "accept", "confident"),
        (51, "glasses", "discard", "contradicted"),
        (128, "glasses", "discard", "uncertain"),
    ],
)
def test_expected_label_changes_the_decision(
    service: Running, level: int, expected: str, decision: str, reason: str
) -> None:
    answer = service.post(encode(flat(level)), expected=expected).json()
    assert (answer["decision"], answer["reason"]) == (decision, reason)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_image"),
        (b"%PDF-1.7", "unsupported_image"),
        (WHITE[:60], "corrupt_image"),
        (png_of(30_000, 30_000, b""), "image_too_large"),
        (encode(flat(1, 16)), "image_too_small"),
        (encode(portrait(80)[:, :70]), "not_square"),
    ],
)
def test_an_image_that_cannot_be_judged_is_a_422_with_its_code(service: Running, body: bytes, code: str) -> None:
    answer = service.post(body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert service.metric("lensgate_image_errors_total", code=code) == 1
    assert service.post(WHITE).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_an_encoded_body_is_refused_with_a_word_about_its_encoding(service: Running, encoding: str) -> None:
    answer = service.client.post(
        "/v1/decisions", content=b"\x1b\x07\x00encoded", headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_image")
    assert f"Content-Encoding '{encoding}' is not decoded" in answer.json()["detail"]


def test_false_content_encoding_of_a_valid_image_is_ignored(service: Running) -> None:
    answer = service.client.post("/v1/decisions", content=FIFTH, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200


def test_a_jpeg_whose_line_ends_curl_removed_is_refused_with_a_word_about_its_flag(service: Running) -> None:
    body = encode(portrait(512), "JPEG").replace(b"\n", b"").replace(b"\r", b"")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = service.client.post("/v1/decisions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "corrupt_image")
    assert "use --data-binary @FILE" in answer.json()["detail"]
    assert service.client.post("/v1/decisions", content=FIFTH, headers=headers).status_code == 200


def test_a_form_is_refused_with_a_word_about_the_raw_body(service: Running) -> None:
    answer = service.client.post("/v1/decisions", files={"image": ("a.png", FIFTH)})
    assert answer.json()["code"] == "unsupported_image"
    assert "multipart form" in answer.json()["detail"]


def test_an_error_is_a_problem_document(service: Running) -> None:
    answer = service.client.post("/v1/decisions", content=b"x", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["request_id"] == answer.headers["x-request-id"] == "abc-1"
    assert {"type", "title", "detail", "code"} < set(problem)


@pytest.mark.parametrize(
    "query",
    [
        {"expected": "sunglasses"},
        {"timeout_ms": "0"},
        {"timeout_ms": "soon"},
        {"id": ""},
        {"id": "x" * 129},
        {"id": "a\nb"},
        {"id": "a\0"},
        {"source": ""},
        {"source": "x" * 129},
        {"source": "a\u202eb"},
    ],
)
def test_a_parameter_that_does_not_fit_is_a_400_that_names_it(service: Running, query: dict[str, str]) -> None:
    answer = service.post(WHITE, **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert next(iter(query)) in answer.json()["detail"]


def test_a_path_or_a_method_that_is_not_there(service: Running) -> None:
    missing = service.client.get("/v2/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = service.client.put("/v1/decisions", content=WHITE)
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "HEAD", "DELETE"])
def test_allow_names_every_method_of_a_path(service: Running, method: str) -> None:
    assert service.client.request(method, "/v1/decisions").headers["allow"] == "GET, HEAD, POST"


def test_head_of_an_unknown_path_allows_nothing(service: Running) -> None:
    answer = service.client.head("/v1/nothing")
    assert (answer.status_code, "allow" in answer.headers) == (404, False)


@pytest.mark.parametrize("sent", ["short", "x" * 128])
def test_a_request_id_is_taken_over(service: Running, sent: str) -> None:
    assert service.client.get("/livez", headers={"X-Request-ID": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "two words", "x" * 129])
def test_a_request_id_that_does_not_fit_a_log_is_replaced(service: Running, sent: str) -> None:
    assert len(service.client.get("/livez", headers={"X-Request-ID": sent}).headers["x-request-id"]) == 26


def test_two_request_ids_are_replaced_by_a_new_one(service: Running) -> None:
    headers = [("X-Request-ID", "first"), ("X-Request-ID", "second")]
    assert len(service.client.get("/livez", headers=headers).headers["x-request-id"]) == 26


def raw_request(running: Running, head: str, *, body: bytes = b"") -> bytes:
    """The problem document that a server answers to a request that no HTTP library would send."""
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b""
        while b"}" not in answer:
            part = connection.recv(65536)
            assert part, answer
            answer += part
        return answer


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent() -> None:
    with running_service(max_body_bytes=1000) as service:
        answer = raw_request(service, "POST /v1/decisions HTTP/1.1\nHost: x\nContent-Length: 1001\n\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"body_too_large" in answer


def test_a_body_without_a_length_is_refused_while_it_streams() -> None:
    with running_service(max_body_bytes=10_000) as service:
        answer = service.client.post("/v1/decisions", content=(bytes(1000) for _ in range(11)))
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        streamed = service.client.post("/v1/decisions", content=(WHITE[i : i + 10] for i in range(0, len(WHITE), 10)))
        assert streamed.json()["glasses_probability"] == 1.0


def test_full_service_is_429_before_the_body_with_retry_after() -> None:
    with running_service(max_inflight_images=1) as service, ThreadPoolExecutor(1) as pool:
        service.scorer.go.clear()
        inside = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        refused = raw_request(service, "POST /v1/decisions HTTP/1.1\nHost: x\nContent-Length: 5000\n\n")
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in refused.lower()
        assert b'"overloaded"' in refused
        service.scorer.go.set()
        assert inside.result(TIMEOUT).status_code == 200
        assert service.metric("lensgate_shed_total", reason="images") == 1
        assert service.post(WHITE).status_code == 200


def test_bytes_in_flight_are_bounded_and_given_back() -> None:
    half = 5000
    with running_service(max_inflight_bytes=2 * half - 1, max_body_bytes=half) as service:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
            connection.sendall(f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: {half}\r\n\r\n".encode())
            wait_until(lambda: service.metric("lensgate_inflight_bytes") == half)
            refused = service.post(bytes(half))
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert service.metric("lensgate_shed_total", reason="bytes") == 1
        wait_until(lambda: service.metric("lensgate_inflight_bytes") == 0)
        assert service.post(WHITE).status_code == 200


def test_a_deadline_ends_the_wait_and_saves_the_inference(service: Running) -> None:
    service.scorer.go.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        late = service.post(WHITE, timeout_ms=50)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        service.scorer.go.set()
        assert first.result(TIMEOUT).status_code == 200
    assert service.post(WHITE).status_code == 200
    assert service.scorer.batches == [1, 1]


def test_a_deadline_of_any_length_is_at_most_the_services(service: Running) -> None:
    assert service.post(WHITE, timeout_ms=10**400).status_code == 200


def test_a_slow_model_is_answered_with_429_before_it_is_too_late() -> None:
    with running_service(max_batch_size=1) as service, ThreadPoolExecutor(8) as pool:
        service.scorer.fault = lambda _: time.sleep(0.3)
        assert service.post(WHITE).status_code == 200
        service.scorer.go.clear()
        inside = [pool.submit(service.post, WHITE) for _ in range(6)]
        wait_until(lambda: service.queued == 5)
        refused = service.post(WHITE, timeout_ms=1000)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        service.scorer.go.set()
        assert {answer.result(TIMEOUT).status_code for answer in inside} == {200}


def test_missing_body_ends_at_the_deadline(service: Running) -> None:
    head = "POST /v1/decisions?timeout_ms=100 HTTP/1.1\nHost: x\nContent-Length: 100\n\n"
    assert raw_request(service, head, body=WHITE[:10]).startswith(b"HTTP/1.1 504 ")
    assert service.metric("lensgate_inflight_bytes") == 0


@pytest.mark.parametrize("sent", [0, 10, len(WHITE)], ids=["nothing sent", "half sent", "all sent"])
def test_disconnected_caller_releases_its_permit(sent: int) -> None:
    with running_service(max_inflight_images=2) as service, ThreadPoolExecutor(1) as pool:
        service.scorer.go.clear()
        first = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
            head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(WHITE)}\r\n\r\n".encode()
            connection.sendall(head + WHITE[:sent])
            wait_until(lambda: service.inflight == 2)
            if sent == len(WHITE):
                wait_until(lambda: service.queued == 1)
        wait_until(lambda: service.inflight == 1)
        service.scorer.go.set()
        assert first.result(TIMEOUT).status_code == 200
        assert service.scorer.batches == [1]
        assert service.metric("lensgate_requests_total", route="/v1/decisions", status="499") == 1


def test_good_images_among_bad_ones_get_the_answers_they_get_alone(service: Running) -> None:
    levels = list(range(0, 256, 4))
    bodies = [encode(flat(level))[: 50 if index % 8 == 3 else None] for index, level in enumerate(levels)]
    alone = [service.post(body).json().get("glasses_probability") for body in bodies]
    corrupt = {"code": "corrupt_image"}
    service.scorer.batches.clear()
    service.scorer.go.clear()
    limits = httpx.Limits(max_connections=64)
    with (
        ThreadPoolExecutor(64) as pool,
        httpx.Client(base_url=service.url, timeout=60, trust_env=False, limits=limits) as client,
    ):
        answers = [pool.submit(client.post, "/v1/decisions", content=body) for body in bodies]
        wait_until(lambda: service.inflight == 56 and service.metric("lensgate_image_errors_total", **corrupt) == 16)
        service.scorer.go.set()
        together = [answer.result(TIMEOUT) for answer in answers]
    assert [answer.status_code for answer in together] == [422 if i % 8 == 3 else 200 for i in range(64)]
    assert [answer.json().get("glasses_probability") for answer in together] == pytest.approx(alone, abs=1e-6)
    assert max(service.scorer.batches) > 1
    alone_in_batch = service.metric("lensgate_batch_images_bucket", le="1.0")
    assert alone_in_batch < service.metric("lensgate_batch_images_count")


def test_unexpected_exception_is_500_without_details(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    service.scorer.fault = lambda _: RuntimeError("a secret detail")
    answer = service.post(WHITE)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    (record,) = (record for record in caplog.records if record.message == "unexpected fault")
    assert record.__dict__["fields"]["request_id"] == answer.json()["request_id"]
    service.scorer.fault = lambda _: None
    assert service.post(WHITE).status_code == 200


def test_a_dead_inference_thread_is_seen_by_both_probes(service: Running) -> None:
    assert [service.client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    service.scorer.fault = lambda _: SystemExit("killed")
    answer = service.post(WHITE)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    wait_until(lambda: not service.runtime.runner.batcher.is_alive)
    assert [service.client.get(path).status_code for path in ("/livez", "/readyz")] == [503, 503]
    assert service.post(WHITE).json()["code"] == "not_ready"


def test_draining_service_is_not_ready_and_finishes_admitted_requests(service: Running) -> None:
    service.scorer.go.clear()
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        service.runtime.drain()
        assert service.client.get("/livez").status_code == 200
        assert service.client.get("/readyz").json()["code"] == "draining"
        refused = service.post(WHITE)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        service.scorer.go.set()
        assert inside.result(TIMEOUT).status_code == 200


def test_the_card_of_the_model_is_served(service: Running) -> None:
    card = service.client.get("/v1/model").json()
    assert card == json.loads(service.runtime.runner.card.model_dump_json())


def test_the_documentation_names_bodies_answers_and_errors(service: Running) -> None:
    assert service.client.get("/docs").status_code == 200
    document = service.client.get("/openapi.json").json()
    paths = document["paths"]
    operation = paths["/v1/decisions"]["post"]
    images = ["image/png", "image/jpeg", "image/webp", "application/octet-stream"]
    assert list(operation["requestBody"]["content"]) == images
    assert {parameter["name"] for parameter in operation["parameters"]} == {"expected", "timeout_ms", "id", "source"}
    statuses = {"200", "400", "401", "403", "408", "413", "422", "429", "500", "503", "504"}
    assert set(operation["responses"]) == statuses
    for status in statuses - {"200"}:
        ((kind, content),) = operation["responses"][status]["content"].items()
        assert kind == "application/problem+json"
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "code" in document["components"]["schemas"]["Problem"]["properties"]
    assert set(paths["/readyz"]["get"]["responses"]) == {"200", "503"}


def test_a_probe_may_ask_for_the_head_alone(service: Running) -> None:
    for path in ("/livez", "/readyz", "/v2/health/ready"):
        assert service.client.head(path).status_code == 200
        assert service.metric("lensgate_requests_total", route=path, status="200") == 1


def test_trailing_slash_is_404(service: Running) -> None:
    assert service.client.post("/v1/decisions/", content=WHITE).json()["code"] == "not_found"


def test_every_label_value_exists_at_zero_from_the_start(service: Running) -> None:
    for label in Label:
        for decision, reason in (
            ("accept", "confident"),
            ("discard", "uncertain"),
            ("discard", "contradicted"),
            ("discard", "unfamiliar"),
        ):
            labels = {"decision": decision, "label": label, "reason": reason, "version": "1"}
            assert service.metric("lensgate_decisions_total", **labels) == 0
    for code in (
        "empty_image",
        "unsupported_image",
        "corrupt_image",
        "image_too_large",
        "image_too_small",
        "not_square",
    ):
        assert service.metric("lensgate_image_errors_total", code=code) == 0
    for reason in ("images", "bytes", "deadline"):
        assert service.metric("lensgate_shed_total", reason=reason) == 0
    for status in ("200", "400", "413", "422", "429", "499", "500", "503", "504"):
        assert service.metric("lensgate_requests_total", route="/v1/decisions", status=status) == 0


def test_what_is_decided_is_counted(service: Running) -> None:
    for level in (51, 128, 255, 255):
        service.post(encode(flat(level)))
    accepted = {"decision": "accept", "reason": "confident", "version": "1"}
    assert service.metric("lensgate_decisions_total", label="glasses", **accepted) == 2
    assert service.metric("lensgate_decisions_total", label="no_glasses", **accepted) == 1
    assert service.metric("lensgate_reject_ratio") == 0.25
    assert service.metric("lensgate_glasses_probability_count") == 4
    assert service.metric("lensgate_glasses_probability_bucket", le="0.4") == 1
    assert service.metric("lensgate_decode_seconds_count") == 4
    assert service.metric("lensgate_queue_wait_seconds_count") == 4
    assert service.metric("lensgate_batch_images_sum") == 4
    assert service.metric("lensgate_request_duration_seconds_count", route="/v1/decisions") == 4


def test_images_that_wait_are_counted_wherever_they_wait() -> None:
    with running_service(decode_threads=1) as service, ThreadPoolExecutor(4) as pool:
        service.scorer.go.clear()
        first = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        rest = [pool.submit(service.post, WHITE) for _ in range(3)]
        wait_until(lambda: service.queued == 3)
        assert service.metric("lensgate_queued_images") == 3
        service.scorer.go.set()
        assert {answer.result(TIMEOUT).status_code for answer in (first, *rest)} == {200}
        assert service.metric("lensgate_queued_images") == 0


def test_unknown_paths_share_one_series(service: Running) -> None:
    for index in range(5):
        service.client.get(f"/invented/{index}")
    assert service.metric("lensgate_requests_total", route="other", status="404") == 5
    assert "invented" not in service.client.get("/metrics").text


def test_two_services_in_one_process_do_not_share_metrics() -> None:
    with running_service() as one, running_service() as other:
        one.post(WHITE)
        assert read_metric(one.client, "lensgate_batch_images_sum") == 1
        assert read_metric(other.client, "lensgate_batch_images_sum") == 0


def test_many_callers_on_one_connection_each_get_their_own_answer(service: Running) -> None:
    """Bodies differ, so that a buffer that is shared or reused too early would show."""
    levels = [(7 * index) % 256 for index in range(200)]
    answers: dict[int, float] = {}
    lock = threading.Lock()

    def ask(index: int) -> None:
        found = service.post(encode(flat(levels[index]))).json()["glasses_probability"]
        with lock:
            answers[index] = found

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(200)))
    assert [answers[index] for index in range(200)] == pytest.approx([level / 255 for level in levels], abs=1e-6)
