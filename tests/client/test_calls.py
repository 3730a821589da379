"""Single calls against a scripted gate: requests, retries and errors."""

import copy
import math
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    Ask,
    AsyncGate,
    BadImage,
    DeadlineExceeded,
    Decision,
    Draining,
    Forbidden,
    Gate,
    GateError,
    GateUnreachable,
    ImageFailed,
    NotReady,
    Overloaded,
    RateLimited,
    RequestRefused,
    Retries,
    ServiceFault,
    Unauthorized,
    UnexpectedAnswer,
)

from tests.client.faulty_server import ReceivedRequest, faulty_server, respond_correctly
from tests.client.support import (
    URL,
    Clock,
    Make,
    ResponseSequence,
    ScriptedGate,
    Sync,
    accepted,
    accepted_tensor,
    card,
    problem,
    read_head,
)
from tests.support.images import flat

FILE = b"a file"
PIXELS = flat(200)

# Both classes share the interpretation of responses.
of_one_class = pytest.mark.parametrize("script", [Sync], ids=["Gate"], indirect=True)


def test_file_is_sent_unchanged_with_its_id(script: Make) -> None:
    scripted = ScriptedGate()
    decision = script(scripted).decide(FILE, "glasses", id="face 1")
    (request,) = scripted.seen
    assert request.method == "POST"
    assert request.url.path == "/v1/decisions"
    assert dict(request.url.params) == {"id": "face 1", "expected": "glasses", "timeout_ms": "30000"}
    assert request.content == FILE
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers
    assert decision.id == "face 1"
    assert decision.accepted
    assert (decision.model_name, decision.model_version) == ("glasses", "7")
    assert decision.band is not None
    assert decision.band.low == 0.4


def test_token_is_sent_and_not_shown_in_repr(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted, **{"token": " lensgate_secret\n"})
    asking.decide(FILE)
    assert scripted.seen[0].headers["authorization"] == "Bearer lensgate_secret"
    assert "secret" not in repr(asking.gate)


def test_a_token_of_another_type_is_rejected_without_quoting_it() -> None:
    with pytest.raises(ValueError, match=r"the token must be a str, not bytes$"):
        Gate(URL, b"secret")  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["  ", "two words", "nul\0", "é"])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_invalid_token_is_rejected_without_quoting_it(kind: Any, token: str) -> None:
    with pytest.raises(ValueError, match="the token") as caught:
        kind(URL, token)
    assert not token.strip() or token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "gate:8000",
        "127.0.0.1:8000",
        "ftp://gate",
        "http://",
        "http://gate/?a=1",
        "http://a:x",
        "http://a:99999",
        "http://a:0",
    ],
)
def test_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        Gate(url)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://gate.test:8000/v1", "http://gate.test:8000/"),
        ("http://gate.test/v1/decisions", "http://gate.test/"),
        ("http://gate.test/team/v1/decisions/batch/", "http://gate.test/team"),
        ("http://gate.test/v2/models/glasses/infer", "http://gate.test/"),
        ("http://gate.test/docs", "http://gate.test/"),
    ],
)
def test_the_url_of_an_endpoint_is_rejected_with_that_of_the_gate(url: str, base: str) -> None:
    with pytest.raises(ValueError, match=f"is the URL of an endpoint: pass the URL of the gate, '{base}'$"):
        Gate(url)


def test_password_in_the_url_is_rejected_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="token=") as caught:
        Gate("http://me:secret@gate.test")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": math.inf}, {"timeout": 2_147_484}, {"concurrency": 0}, {"batch_size": 0}]
)
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_invalid_settings_are_rejected(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        kind(URL, **options)


def test_url_may_have_a_path(clock: Clock) -> None:
    scripted = ScriptedGate()
    with Gate(f"{URL}/faces/", transport=httpx.MockTransport(scripted), clock=clock) as gate:
        gate.decide(FILE)
    assert scripted.paths == ["/faces/v1/decisions"]


def test_pixels_are_sent_at_the_model_size_as_a_binary_tensor(script: Make) -> None:
    scripted = ScriptedGate()
    decision = script(scripted).decide(PIXELS, "no_glasses", id="a")
    assert scripted.paths == ["/v1/model", "/v2/models/glasses/infer"]
    request = scripted.seen[1]
    head = read_head(request)
    image, expected = head["inputs"]
    assert head["id"] == "a"
    assert image == {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 32, 32, 3],
        "parameters": {"binary_data_size": 32 * 32 * 3},
    }
    assert expected["data"] == ["no_glasses"]
    assert head["parameters"]["timeout"] == 30_000_000
    assert request.content.endswith(bytes([200]) * (32 * 32 * 3))
    assert decision == Decision("a", 0.25, "no_glasses", "accept", "confident", None, None, "glasses", "7")


def test_model_is_requested_once(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    for _ in range(3):
        asking.decide(PIXELS)
    assert scripted.paths.count("/v1/model") == 1
    assert asking.model().size == 32
    assert scripted.paths.count("/v1/model") == 2


@pytest.mark.parametrize("status", [(429, "overloaded"), (429, "rate_limited"), (503, "not_ready"), (503, "draining")])
def test_retry_waits_for_retry_after(script: Make, clock: Clock, status: tuple[int, str]) -> None:
    answers = ResponseSequence([problem(*status, Retry_After="2"), problem(*status, Retry_After="2"), accepted])
    script(answers).decide(FILE, id="a")
    assert clock.slept == pytest.approx([2.05, 2.1])
    assert [request.url.params["timeout_ms"] for request in answers.seen] == ["30000", "27950", "25850"]
    assert {request.url.params["id"] for request in answers.seen} == {"a"}


def test_retry_waits_for_a_retry_after_date(script: Make, clock: Clock) -> None:
    now = datetime.now(UTC)
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Retry_After": format_datetime(now + timedelta(seconds=4), usegmt=True),
    }
    script(ResponseSequence([problem(429, "overloaded", **headers), accepted])).decide(FILE)
    assert clock.slept == pytest.approx([4.05])


def test_retry_waits_double_without_retry_after(script: Make, clock: Clock) -> None:
    script(ResponseSequence([*[httpx.ConnectError("refused")] * 4, accepted])).decide(FILE)
    assert clock.slept == pytest.approx([0.05, 0.1, 0.2, 0.4])


@of_one_class
@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        *(httpx.Response(status, text="<h1>Bad Gateway</h1>") for status in (408, 502, 520, 521, 522, 523)),
    ],
)
def test_lost_response_is_retried_under_the_same_id_unless_disabled(script: Make, lost: Any) -> None:
    answers = ResponseSequence([lost, accepted])
    script(answers).decide(FILE)
    first, second = answers.seen
    assert first.url.params["id"] == second.url.params["id"]
    with pytest.raises(GateUnreachable) as caught:
        script(ResponseSequence([lost]), retries=Retries(repeat_lost=False)).decide(FILE)
    assert caught.value.is_lost


@of_one_class
@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(400, "malformed_request"), RequestRefused, "malformed_request"),
        (problem(401, "unauthorized"), Unauthorized, "unauthorized"),
        (problem(403, "forbidden"), Forbidden, "forbidden"),
        (problem(404, "not_found"), RequestRefused, "not_found"),
        (problem(408, "body_too_slow"), RequestRefused, "body_too_slow"),
        (problem(413, "body_too_large"), BadImage, "body_too_large"),
        (problem(422, "not_square"), BadImage, "not_square"),
        (problem(500, "internal"), ServiceFault, "internal"),
        (problem(504, "deadline_exceeded"), DeadlineExceeded, "deadline_exceeded"),
        (httpx.Response(413, text="nginx"), BadImage, "body_too_large"),
        (httpx.Response(404, text="nginx"), RequestRefused, "malformed_request"),
        (httpx.Response(500, text="oops"), ServiceFault, "internal"),
        (httpx.Response(504), DeadlineExceeded, "deadline_exceeded"),
        (httpx.Response(307, headers={"Location": "http://elsewhere"}), UnexpectedAnswer, "unexpected_answer"),
        (httpx.Response(204), UnexpectedAnswer, "unexpected_answer"),
        (httpx.ReadTimeout("slow"), DeadlineExceeded, "deadline_exceeded"),
        (httpx.UnsupportedProtocol("what"), UnexpectedAnswer, "unexpected_answer"),
        (httpx.DecodingError("gzip"), UnexpectedAnswer, "unexpected_answer"),
    ],
)
def test_other_failures_are_final_and_have_their_class(
    script: Make, answer: Any, kind: type[GateError], code: str
) -> None:
    answers = ResponseSequence([answer])
    with pytest.raises(kind) as caught:
        script(answers).decide(FILE)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert len(answers.seen) == 1


def test_error_has_the_detail_of_the_gate(script: Make) -> None:
    with pytest.raises(BadImage) as caught:
        script(ResponseSequence([problem(422, "corrupt_image")])).decide(FILE)
    error = caught.value
    assert str(error) == "corrupt_image: it is corrupt_image"
    assert (error.status, error.request_id) == (422, "r1")


@of_one_class
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503, text="no healthy upstream"),
        httpx.Response(503, headers={"Content-Type": "application/problem+json"}, content=b"{not json"),
        httpx.Response(503, headers={"Content-Type": "application/problem+json"}, content=b"[1]"),
        httpx.Response(503, headers={"Content-Type": "application/problem+json"}, content=b'{"detail": 1, "code": 2}'),
    ],
)
def test_proxy_error_is_classified_by_its_status(script: Make, answer: httpx.Response) -> None:
    script(ResponseSequence([answer, accepted])).decide(FILE)
    with pytest.raises(NotReady, match="HTTP 503 without a problem document"):
        script(ResponseSequence([answer]), timeout=0.01).decide(FILE)


@of_one_class
@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[]", b'{"id": 1}', b'{"decision": "accept"}', b"null"],
)
def test_response_of_another_service_is_unexpected(script: Make, content: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(ResponseSequence([httpx.Response(200, content=content)])).decide(FILE)
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(ResponseSequence([httpx.Response(200, content=content)])).decide(PIXELS)
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(ResponseSequence([card(), httpx.Response(200, content=content)])).decide(PIXELS)


def test_unknown_decision_is_unexpected(script: Make) -> None:
    def maybe(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=accepted(request).content.replace(b'"accept"', b'"maybe"'))

    with pytest.raises(UnexpectedAnswer):
        script(ResponseSequence([maybe])).decide(FILE)


@of_one_class
@pytest.mark.parametrize("size", ["64", 0, True])
def test_card_without_a_valid_size_is_unexpected(script: Make, size: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        script(ResponseSequence([card(size)])).model()


def test_call_fails_at_once_if_the_retry_would_be_too_late(script: Make, clock: Clock) -> None:
    answers = ResponseSequence([problem(429, "overloaded", Retry_After="31")])
    with pytest.raises(Overloaded, match="not retried: the call would time out") as caught:
        script(answers).decide(FILE)
    assert caught.value.retry_after == 31.0
    assert clock.slept == []


def test_timeout_limits_all_attempts_together(script: Make, clock: Clock) -> None:
    begun = clock()
    with pytest.raises(Overloaded, match="the call would time out"):
        script(ResponseSequence([problem(429, "overloaded")]), timeout=12.0).decide(FILE)
    assert clock() - begun < 12.0
    with pytest.raises(Draining):
        script(ResponseSequence([problem(503, "draining")])).decide(FILE, timeout=0.02)


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), problem(503, "not_ready"), problem(503, "draining")])
def test_an_outage_ends_the_call_long_before_its_timeout(script: Make, clock: Clock, answer: Any) -> None:
    begun = clock()
    with pytest.raises(GateError, match=r"the gate would be down for more than 5 s\)"):
        script(ResponseSequence([answer])).decide(FILE)
    assert 1.0 < clock() - begun <= 5.0
    with pytest.raises(GateError, match="more than 2 s"):
        script(
            ResponseSequence([problem(503, "draining", Retry_After="3")]), retries=Retries(longest_outage=2.0)
        ).decide(FILE)
    assert clock() - begun <= 5.0


def test_only_a_gate_that_is_not_there_counts_as_an_outage(script: Make, clock: Clock) -> None:
    down, busy = httpx.ConnectError("refused"), problem(429, "overloaded", Retry_After="3")
    begun = clock()
    script(ResponseSequence([down, busy, busy, down, busy, accepted])).decide(FILE)
    assert clock() - begun > 9.0
    script(ResponseSequence([*[httpx.ReadError("reset")] * 7, accepted])).decide(FILE)


def test_the_gate_is_checked_without_a_decision(script: Make) -> None:
    scripted = ScriptedGate()
    script(scripted).check_ready()
    assert scripted.paths == ["/v2/health/ready"]
    scripted.ready = lambda _: problem(503, "draining")
    with pytest.raises(Draining):
        script(scripted).check_ready()


def test_expired_call_sends_no_request(script: Make) -> None:
    scripted = ScriptedGate()
    with pytest.raises(DeadlineExceeded, match="before its request was sent"):
        script(scripted).decide(FILE, timeout=-1.0)
    for seconds in (math.inf, math.nan, 2_147_484):
        with pytest.raises(ValueError, match=f"at most 2,147,483 seconds, not {seconds}"):
            script(scripted).decide(FILE, timeout=seconds)
    assert scripted.seen == []


def test_failure_is_final_without_retry_budget(script: Make, clock: Clock) -> None:
    asking = script(ResponseSequence([problem(429, "rate_limited")]), retries=Retries(ratio=0.5, minimum=0.0))
    with pytest.raises(RateLimited, match="not retried: the retry budget is used up"):
        asking.decide(FILE)
    assert clock.slept == []
    with pytest.raises(RateLimited, match="the retry budget"):
        asking.decide(FILE)
    assert len(clock.slept) == 1


def test_calls_share_the_retry_budget(script: Make, clock: Clock) -> None:
    answers = ResponseSequence([problem(503, "not_ready")])
    asking = script(answers, retries=Retries(ratio=0.2, minimum=0.0))
    for _ in range(100):
        with pytest.raises(NotReady):
            asking.decide(FILE)
    assert len(clock.slept) == 20
    assert len(answers.seen) == 120


def test_closed_gate_object_sends_no_request(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    asking.close_gate()
    with pytest.raises(GateError, match="closed"):
        asking.decide(FILE)
    with pytest.raises(GateError, match="closed"):
        asking.decide_many([FILE])
    assert scripted.seen == []
    asking = script(scripted)
    asking.decide(PIXELS)
    asking.close_gate()
    with pytest.raises(GateError, match="closed"):
        asking.decide_many(np.stack([PIXELS] * 4))
    assert len(scripted.seen) == 2


def test_close_ends_a_retry_wait() -> None:
    entered = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        entered.set()
        return problem(429, "overloaded", Retry_After="20")

    gate = Gate(URL, transport=httpx.MockTransport(answer))
    failed: list[GateError] = []

    def call() -> None:
        try:
            gate.decide(FILE)
        except GateError as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert entered.wait(60)
    gate.close()
    thread.join(60)
    assert [error.code for error in failed] == ["closed"]


def test_close_waits_for_the_response_to_a_call_of_another_thread() -> None:
    entered = threading.Event()

    def respond(request: ReceivedRequest) -> Iterator[bytes]:
        entered.set()
        time.sleep(0.5)
        yield from respond_correctly(request)

    with faulty_server(respond) as server, ThreadPoolExecutor(1) as pool:
        gate = Gate(server.url)
        decision = pool.submit(gate.decide, FILE)
        assert entered.wait(60)
        gate.close()
        assert decision.done()
        assert decision.result().accepted


def test_close_in_the_middle_of_its_own_thread_s_call_returns() -> None:
    """As a signal handler does."""

    def answer(request: httpx.Request) -> httpx.Response:
        gate.close()
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(gate.decide, FILE).result(60).accepted


def test_two_threads_that_close_in_the_middle_of_their_calls_return() -> None:
    both = threading.Barrier(2)

    def answer(request: httpx.Request) -> httpx.Response:
        both.wait(60)
        gate.close()
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(gate.decide, FILE) for _ in range(2)]
        assert [call.result(60).accepted for call in calls] == [True, True]


def test_close_in_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    entered, left = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        entered.set()
        left.wait(60)
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(gate.decide, FILE)
        assert entered.wait(60)
        child = multiprocessing.get_context("fork").Process(target=gate.close)
        child.start()
        child.join(60)
        left.set()
        assert child.exitcode == 0
        assert call.result(60).accepted


def test_gate_object_of_another_process_is_rejected(script: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = script(ScriptedGate())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide(FILE)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide_many([FILE])


def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent() -> None:
    """Neither the request for the model, which is known, nor that for the decisions tells it before the shrinking."""
    batch = np.stack([PIXELS, PIXELS])
    with Gate(URL, transport=httpx.MockTransport(ScriptedGate())) as gate:
        gate.decide_many(batch)

        def decide() -> None:
            with pytest.raises(RuntimeError, match="create one in each process"):
                gate.decide_many(batch)

        child = multiprocessing.get_context("fork").Process(target=decide)
        child.start()
        child.join(60)
        child.kill()
        child.join()
        assert child.exitcode == 0


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_gate_object_cannot_be_sent_to_another_process(kind: Any, duplicate: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=f"a {kind.__name__} cannot be copied or pickled: create one in each process"):
        duplicate([kind(URL)] if duplicate is pickle.dumps else kind(URL))


def test_decide_rejects_batches(script: Make) -> None:
    asking = script(ScriptedGate())
    for batch in (np.stack([PIXELS, PIXELS]), np.zeros((0, 64, 64, 3), np.uint8), np.zeros((2, 50, 50, 3), np.uint8)):
        with pytest.raises(ValueError, match="decide_many takes batches"):
            asking.decide(batch)
    with pytest.raises(ValueError, match="an id identifies one image"):
        asking.decide(np.stack([PIXELS, PIXELS]), id="a")
    assert asking.decide(PIXELS[None]).accepted


def test_values_of_an_ask_take_precedence(script: Make) -> None:
    scripted = ScriptedGate()
    assert script(scripted).decide(Ask(FILE, "glasses"), "no_glasses", id="a").id == "a"
    assert scripted.seen[0].url.params["expected"] == "glasses"
    script(scripted).decide(Ask(FILE, id="b"), "no_glasses", id="c")
    assert dict(scripted.seen[1].url.params) == {"id": "b", "expected": "no_glasses", "timeout_ms": "30000"}


def test_invalid_image_raises_bad_image(script: Make) -> None:
    scripted = ScriptedGate()
    with pytest.raises(BadImage) as caught:
        script(scripted).decide(PIXELS[:40])
    assert caught.value.code == "not_square"
    with pytest.raises(BadImage, match="cannot be read"):
        script(scripted).decide("missing.png")


def test_model_version_change_refreshes_the_input_size(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    asking.decide(PIXELS)
    scripted.version, scripted.size = "8", 16
    asking.decide(PIXELS)
    asking.decide(PIXELS)
    shapes = [
        read_head(request)["inputs"][0]["shape"] for request in scripted.seen if request.url.path.endswith("infer")
    ]
    assert [shape[1] for shape in shapes] == [32, 32, 16]


def misfit(scripted: ScriptedGate) -> Any:
    """Reject sizes that are not a multiple of the model size, as the gate does."""

    def infer(request: httpx.Request) -> httpx.Response:
        if read_head(request)["inputs"][0]["shape"][1] % scripted.size:
            return problem(400, "malformed_request")
        return accepted_tensor(request, version=scripted.version)

    return infer


def test_image_is_shrunk_again_for_a_larger_model(script: Make) -> None:
    scripted = ScriptedGate()
    scripted.infer = misfit(scripted)
    asking = script(scripted)
    asking.decide(PIXELS)
    scripted.size = 64
    assert asking.decide(PIXELS).accepted
    asking = script(scripted)
    asking.decide(PIXELS)
    scripted.size = 128
    image = flat(200, 256)
    many = [FILE, image, Ask(np.stack([image, image]), "glasses"), "missing", FILE, Ask(image, id="last")]
    outcomes = asking.decide_many(many)
    assert [outcome.accepted for outcome in outcomes] == [True] * 4 + [False, True, True]
    assert outcomes[6].id == "last"
    labels = [read_head(request)["inputs"][1]["data"] for request in scripted.seen if b'"expected"' in request.content]
    assert labels[-1].count("glasses") == 2


def test_streamed_image_fails_with_model_changed(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted, batch_size=1)
    scripted.infer = misfit(scripted)

    def images() -> Any:
        yield PIXELS
        scripted.size = 64
        yield PIXELS
        yield FILE

    outcomes = list(asking.stream(images()))
    failed = [outcome for outcome in outcomes if isinstance(outcome, ImageFailed)]
    assert {outcome.code for outcome in failed} <= {"model_changed"}
    assert outcomes[2].accepted
    assert all(outcome.accepted for outcome in asking.stream([PIXELS, PIXELS]))


def test_request_is_repeated_for_an_outdated_replica(script: Make) -> None:
    refused = problem(400, "malformed_request")
    asking = script(ResponseSequence([card(), refused, card(), refused, card(), accepted_tensor]))
    assert asking.decide(PIXELS).accepted
    with pytest.raises(RequestRefused):
        script(ResponseSequence([card(), refused, card(), refused, card(), refused, card()])).decide(PIXELS)


def test_revoked_token_does_not_refresh_the_model(script: Make) -> None:
    answers = ResponseSequence([card(), problem(401, "unauthorized")])
    with pytest.raises(Unauthorized):
        script(answers).decide(PIXELS)
    assert len(answers.seen) == 2


def test_too_large_batch_is_split(script: Make) -> None:
    scripted = ScriptedGate()

    def infer(request: httpx.Request) -> httpx.Response:
        if read_head(request)["inputs"][0]["shape"][0] > 5:
            return problem(413, "body_too_large")
        return accepted_tensor(request)

    scripted.infer = infer
    asking = script(scripted, concurrency=1)
    outcomes = asking.decide_many(np.stack([PIXELS] * 32))
    assert len({outcome.id for outcome in outcomes}) == 32
    assert all(outcome.accepted for outcome in outcomes)
    sent = len(scripted.seen)
    asking.decide_many(np.stack([PIXELS] * 32))
    assert len(scripted.seen) - sent == 8


def test_image_above_the_body_limit_fails(script: Make) -> None:
    scripted = ScriptedGate()
    scripted.infer = lambda _: problem(413, "body_too_large")
    outcomes = script(scripted).decide_many(np.stack([PIXELS] * 3))
    assert [isinstance(one, ImageFailed) and one.code for one in outcomes] == ["body_too_large"] * 3
