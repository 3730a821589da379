"""One call against a gate that follows a script: what is sent, what is repeated, and what every end means."""

import math
import os
import threading
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

from tests.client.support import URL, Clock, Make, Script, Site, Sync, accepted, card, judged, problem, read_head
from tests.support.images import flat

FILE = b"a file"
PIXELS = flat(200)

# What an answer means is decided in one place, for both classes.
of_one_class = pytest.mark.parametrize("script", [Sync], ids=["Gate"], indirect=True)


def test_a_file_is_sent_as_it_is_and_named(script: Make) -> None:
    site = Site()
    decision = script(site).decide(FILE, "glasses", id="face 1")
    (request,) = site.seen
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


def test_the_token_is_sent_and_shown_nowhere(script: Make) -> None:
    site = Site()
    asking = script(site, **{"token": " lensgate_secret\n"})
    asking.decide(FILE)
    assert site.seen[0].headers["authorization"] == "Bearer lensgate_secret"
    assert "secret" not in repr(asking.gate)


@pytest.mark.parametrize("token", ["  ", "two words", "nul\0", "é"])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_what_is_no_token_is_refused_and_not_repeated(kind: Any, token: str) -> None:
    with pytest.raises(ValueError, match="the token") as caught:
        kind(URL, token)
    assert not token.strip() or token not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["gate:8000", "127.0.0.1:8000", "ftp://gate", "http://", "http://gate/?a=1", "http://a:x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        Gate(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="token=") as caught:
        Gate("http://me:secret@gate.test")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": math.inf}, {"concurrency": 0}, {"batch_size": 0}])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_settings_that_make_no_sense_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        kind(URL, **options)


def test_a_gate_below_a_path_is_found(clock: Clock) -> None:
    site = Site()
    with Gate(f"{URL}/faces/", transport=httpx.MockTransport(site), clock=clock) as gate:
        gate.decide(FILE)
    assert site.paths == ["/faces/v1/decisions"]


def test_pixels_travel_at_the_models_size_as_a_binary_tensor(script: Make) -> None:
    site = Site()
    decision = script(site).decide(PIXELS, "no_glasses", id="a")
    assert site.paths == ["/v1/model", "/v2/models/glasses/infer"]
    request = site.seen[1]
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


def test_the_model_is_asked_for_once(script: Make) -> None:
    site = Site()
    asking = script(site)
    for _ in range(3):
        asking.decide(PIXELS)
    assert site.paths.count("/v1/model") == 1
    assert asking.model().size == 32
    assert site.paths.count("/v1/model") == 2


@pytest.mark.parametrize("status", [(429, "overloaded"), (429, "rate_limited"), (503, "not_ready"), (503, "draining")])
def test_what_was_not_decided_is_asked_again_when_the_gate_says(
    script: Make, clock: Clock, status: tuple[int, str]
) -> None:
    answers = Script([problem(*status, Retry_After="3"), problem(*status, Retry_After="2"), accepted])
    script(answers).decide(FILE, id="a")
    assert clock.slept == pytest.approx([3.05, 2.1])
    assert [request.url.params["timeout_ms"] for request in answers.seen] == ["30000", "26950", "24850"]
    assert {request.url.params["id"] for request in answers.seen} == {"a"}


def test_a_date_to_come_back_at_is_kept(script: Make, clock: Clock) -> None:
    now = datetime.now(UTC)
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Retry_After": format_datetime(now + timedelta(seconds=4), usegmt=True),
    }
    script(Script([problem(429, "overloaded", **headers), accepted])).decide(FILE)
    assert clock.slept == pytest.approx([4.05])


def test_an_answer_under_way_twice_as_long_backs_off(script: Make, clock: Clock) -> None:
    script(Script([*[httpx.ConnectError("refused")] * 4, accepted])).decide(FILE)
    assert clock.slept == pytest.approx([0.05, 0.1, 0.2, 0.4])


@of_one_class
@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.Response(502, text="<h1>Bad Gateway</h1>"),
    ],
)
def test_a_lost_answer_is_asked_for_again_under_the_same_id_unless_that_is_not_wanted(script: Make, lost: Any) -> None:
    answers = Script([lost, accepted])
    script(answers).decide(FILE)
    first, second = answers.seen
    assert first.url.params["id"] == second.url.params["id"]
    with pytest.raises(GateUnreachable) as caught:
        script(Script([lost]), retries=Retries(repeat_lost=False)).decide(FILE)
    assert caught.value.is_lost


@of_one_class
@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(400, "malformed_request"), RequestRefused, "malformed_request"),
        (problem(401, "unauthorized"), Unauthorized, "unauthorized"),
        (problem(403, "forbidden"), Forbidden, "forbidden"),
        (problem(404, "not_found"), RequestRefused, "not_found"),
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
def test_every_other_end_is_final_and_has_its_class(
    script: Make, answer: Any, kind: type[GateError], code: str
) -> None:
    answers = Script([answer])
    with pytest.raises(kind) as caught:
        script(answers).decide(FILE)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert len(answers.seen) == 1


def test_an_error_says_what_the_gate_said(script: Make) -> None:
    with pytest.raises(BadImage) as caught:
        script(Script([problem(422, "corrupt_image")])).decide(FILE)
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
def test_a_proxy_that_knows_no_problems_is_understood_by_its_status(script: Make, answer: httpx.Response) -> None:
    script(Script([answer, accepted])).decide(FILE)
    with pytest.raises(NotReady, match="HTTP 503 without a problem document"):
        script(Script([answer]), timeout=0.01).decide(FILE)


@of_one_class
@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[]", b'{"id": 1}', b'{"decision": "accept"}', b"null"],
)
def test_an_answer_that_no_gate_gives_is_named(script: Make, content: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(Script([httpx.Response(200, content=content)])).decide(FILE)
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(Script([httpx.Response(200, content=content)])).decide(PIXELS)
    with pytest.raises(UnexpectedAnswer, match="not a response of a Lensgate"):
        script(Script([card(), httpx.Response(200, content=content)])).decide(PIXELS)


def test_words_that_this_client_does_not_know_are_not_guessed_at(script: Make) -> None:
    def maybe(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=accepted(request).content.replace(b'"accept"', b'"maybe"'))

    with pytest.raises(UnexpectedAnswer):
        script(Script([maybe])).decide(FILE)


@of_one_class
@pytest.mark.parametrize("size", ["64", 0, True])
def test_a_card_without_a_size_is_named(script: Make, size: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        script(Script([card(size)])).model()


def test_a_call_that_cannot_come_back_in_time_ends_at_once(script: Make, clock: Clock) -> None:
    answers = Script([problem(429, "overloaded", Retry_After="31")])
    with pytest.raises(Overloaded, match="not retried: the call would time out") as caught:
        script(answers).decide(FILE)
    assert caught.value.retry_after == 31.0
    assert clock.slept == []


def test_all_tries_together_take_no_longer_than_the_call_may(script: Make, clock: Clock) -> None:
    begun = clock()
    with pytest.raises(NotReady, match="the call would time out"):
        script(Script([problem(503, "not_ready")]), timeout=12.0).decide(FILE)
    assert clock() - begun < 12.0
    with pytest.raises(Draining):
        script(Script([problem(503, "draining")])).decide(FILE, timeout=0.02)


def test_a_call_whose_time_is_over_before_it_begins_sends_nothing(script: Make) -> None:
    site = Site()
    with pytest.raises(DeadlineExceeded, match="before its request was sent"):
        script(site).decide(FILE, timeout=-1.0)
    with pytest.raises(ValueError, match="a finite number of seconds, not inf"):
        script(site).decide(FILE, timeout=math.inf)
    assert site.seen == []


def test_where_the_budget_is_used_up_the_next_failure_is_final(script: Make, clock: Clock) -> None:
    asking = script(Script([problem(429, "rate_limited")]), retries=Retries(ratio=0.5, minimum=0.0))
    with pytest.raises(RateLimited, match="not retried: the retry budget is used up"):
        asking.decide(FILE)
    assert clock.slept == []
    with pytest.raises(RateLimited, match="the retry budget"):
        asking.decide(FILE)
    assert len(clock.slept) == 1


def test_the_budget_is_shared_by_all_calls(script: Make, clock: Clock) -> None:
    answers = Script([problem(503, "not_ready")])
    asking = script(answers, retries=Retries(ratio=0.2, minimum=0.0))
    for _ in range(100):
        with pytest.raises(NotReady):
            asking.decide(FILE)
    assert len(clock.slept) == 20
    assert len(answers.seen) == 120


def test_a_closed_gate_sends_nothing_more(script: Make) -> None:
    site = Site()
    asking = script(site)
    asking.shut()
    with pytest.raises(GateError, match="closed"):
        asking.decide(FILE)
    with pytest.raises(GateError, match="closed"):
        asking.decide_many([FILE])
    assert site.seen == []
    asking = script(site)
    asking.decide(PIXELS)
    asking.shut()
    with pytest.raises(GateError, match="closed"):
        asking.decide_many(np.stack([PIXELS] * 4))
    assert len(site.seen) == 2


def test_closing_ends_a_wait() -> None:
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
    assert entered.wait(10)
    gate.close()
    thread.join(10)
    assert [error.code for error in failed] == ["closed"]


def test_a_gate_of_another_process_is_refused(script: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = script(Site())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide(FILE)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide_many([FILE])


def test_one_image_is_asked_about_and_not_a_batch(script: Make) -> None:
    asking = script(Site())
    for batch in (np.stack([PIXELS, PIXELS]), np.zeros((0, 64, 64, 3), np.uint8), np.zeros((2, 50, 50, 3), np.uint8)):
        with pytest.raises(ValueError, match="decide_many takes batches"):
            asking.decide(batch)
    with pytest.raises(ValueError, match="an id identifies one image"):
        asking.decide(np.stack([PIXELS, PIXELS]), id="a")
    assert asking.decide(PIXELS[None]).accepted


def test_an_image_that_says_something_itself_may_be_asked_about_too(script: Make) -> None:
    site = Site()
    assert script(site).decide(Ask(FILE, "glasses"), "no_glasses", id="a").id == "a"
    assert site.seen[0].url.params["expected"] == "glasses"
    script(site).decide(Ask(FILE, id="b"), "no_glasses", id="c")
    assert dict(site.seen[1].url.params) == {"id": "b", "expected": "no_glasses", "timeout_ms": "30000"}


def test_an_image_at_fault_is_an_error_of_the_call(script: Make) -> None:
    site = Site()
    with pytest.raises(BadImage) as caught:
        script(site).decide(PIXELS[:40])
    assert caught.value.code == "not_square"
    with pytest.raises(BadImage, match="cannot be read"):
        script(site).decide("missing.png")


def test_a_model_of_another_size_is_noticed_by_its_version(script: Make) -> None:
    site = Site()
    asking = script(site)
    asking.decide(PIXELS)
    site.version, site.size = "8", 16
    asking.decide(PIXELS)
    asking.decide(PIXELS)
    shapes = [read_head(request)["inputs"][0]["shape"] for request in site.seen if request.url.path.endswith("infer")]
    assert [shape[1] for shape in shapes] == [32, 32, 16]


def misfit(site: Site) -> Any:
    """Refuses what is no multiple of the size, as the gate does."""

    def infer(request: httpx.Request) -> httpx.Response:
        if read_head(request)["inputs"][0]["shape"][1] % site.size:
            return problem(400, "malformed_request")
        return judged(request, version=site.version)

    return infer


def test_an_image_that_was_shrunk_for_a_smaller_model_is_shrunk_anew(script: Make) -> None:
    site = Site()
    site.infer = misfit(site)
    asking = script(site)
    asking.decide(PIXELS)
    site.size = 64
    assert asking.decide(PIXELS).accepted
    asking = script(site)
    asking.decide(PIXELS)
    site.size = 128
    image = flat(200, 256)
    many = [FILE, image, Ask(np.stack([image, image]), "glasses"), "missing", FILE, Ask(image, id="last")]
    outcomes = asking.decide_many(many)
    assert [outcome.accepted for outcome in outcomes] == [True] * 4 + [False, True, True]
    assert outcomes[6].id == "last"
    labels = [read_head(request)["inputs"][1]["data"] for request in site.seen if b'"expected"' in request.content]
    assert labels[-1].count("glasses") == 2


def test_in_a_stream_that_holds_no_image_any_longer_it_fails_and_says_so(script: Make) -> None:
    site = Site()
    asking = script(site, batch_size=1)
    site.infer = misfit(site)

    def images() -> Any:
        yield PIXELS
        site.size = 64
        yield PIXELS
        yield FILE

    outcomes = list(asking.stream(images()))
    failed = [outcome for outcome in outcomes if isinstance(outcome, ImageFailed)]
    assert {outcome.code for outcome in failed} <= {"model_changed"}
    assert outcomes[2].accepted
    assert all(outcome.accepted for outcome in asking.stream([PIXELS, PIXELS]))


def test_a_replica_that_is_behind_is_asked_again_and_then_believed(script: Make) -> None:
    refused = problem(400, "malformed_request")
    asking = script(Script([card(), refused, card(), refused, card(), judged]))
    assert asking.decide(PIXELS).accepted
    with pytest.raises(RequestRefused):
        script(Script([card(), refused, card(), refused, card(), refused, card()])).decide(PIXELS)


def test_a_token_that_is_revoked_is_not_taken_for_another_model(script: Make) -> None:
    answers = Script([card(), problem(401, "unauthorized")])
    with pytest.raises(Unauthorized):
        script(answers).decide(PIXELS)
    assert len(answers.seen) == 2


def test_more_images_than_a_gate_takes_at_a_time_are_sent_in_parts(script: Make) -> None:
    site = Site()

    def infer(request: httpx.Request) -> httpx.Response:
        if read_head(request)["inputs"][0]["shape"][0] > 5:
            return problem(413, "body_too_large")
        return judged(request)

    site.infer = infer
    asking = script(site, concurrency=1)
    outcomes = asking.decide_many(np.stack([PIXELS] * 32))
    assert len({outcome.id for outcome in outcomes}) == 32
    assert all(outcome.accepted for outcome in outcomes)
    sent = len(site.seen)
    asking.decide_many(np.stack([PIXELS] * 32))
    assert len(site.seen) - sent == 8


def test_a_gate_that_takes_not_even_one_image_says_so_of_each(script: Make) -> None:
    site = Site()
    site.infer = lambda _: problem(413, "body_too_large")
    outcomes = script(site).decide_many(np.stack([PIXELS] * 3))
    assert [isinstance(one, ImageFailed) and one.code for one in outcomes] == ["body_too_large"] * 3
