"""Single calls against a scripted gate: requests, retries and errors."""

import math
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
    NotReady,
    RequestRefused,
    ServiceFault,
    Unauthorized,
    UnexpectedAnswer,
)

from tests.client.support import (
    FILE,
    PIXELS,
    URL,
    Clock,
    Make,
    ResponseSequence,
    ScriptedGate,
    accepted,
    card,
    of_one_class,
    problem,
    read_head,
)


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


@pytest.mark.parametrize("token", ["  ", "Bearer secret", "nul\0", "é"])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_invalid_token_is_rejected_without_quoting_it(kind: Any, token: str) -> None:
    with pytest.raises(ValueError, match=r"the token .* without 'Bearer'") as caught:
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
        ("http://gate.test:8000/v1/decisions", "http://gate.test:8000/"),
        ("http://gate.test/v1/model/", "http://gate.test/"),
        ("http://gate.test/team/v1/decisions/batch/", "http://gate.test/team"),
        ("http://gate.test/v2/models/glasses/infer", "http://gate.test/"),
        ("http://gate.test/docs", "http://gate.test/"),
    ],
)
def test_the_url_of_an_endpoint_is_rejected_with_that_of_the_gate(url: str, base: str) -> None:
    with pytest.raises(ValueError, match=f"is the URL of an endpoint: pass the URL of the gate, '{base}'$"):
        Gate(url)


@pytest.mark.parametrize(
    "path", ["/lensgate", "/v1", "/team/v2/", "/v1/modelling", "/docs/gate", "/v2/models2/gate", "//", "/team//"]
)
def test_a_proxy_may_have_any_path(path: str) -> None:
    scripted = ScriptedGate()
    with Gate(f"{URL}{path}", transport=httpx.MockTransport(scripted)) as gate:
        gate.decide(FILE)
    assert scripted.paths == [f"{path.rstrip('/')}/v1/decisions"]


@pytest.mark.parametrize(("path", "is_named"), [("/v1", True), ("/v1/", True), ("", False), ("/lensgate", False)])
def test_a_version_at_the_end_of_the_url_is_named_if_nothing_is_found(path: str, *, is_named: bool) -> None:
    missing = httpx.MockTransport(ResponseSequence([problem(404, "not_found")]))
    with Gate(f"{URL}{path}", transport=missing) as gate, pytest.raises(RequestRefused) as caught:
        gate.decide(FILE)
    assert ("; pass the URL of the gate without /v1, unless that is the" in str(caught.value)) == is_named


def test_password_in_the_url_is_rejected_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="token=") as caught:
        Gate("http://me:secret@gate.test")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        *(
            ({"timeout": value}, "timeout must be a number > 0 and at most 2,147,483 seconds, not ")
            for value in (0, None, math.inf, 2_147_484, "30", (3, 5), httpx.Timeout(5))
        ),
        *(({"concurrency": value}, "concurrency must be an integer >= 1, not ") for value in (0, "4")),
        *(({"batch_size": value}, "batch_size must be an integer >= 1, not ") for value in (0, 2.5)),
        *(({"retries": value}, r"not \d: Retries\(ratio=0, minimum=0\) repeats none") for value in (0, 3)),
    ],
)
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_invalid_settings_are_rejected(kind: Any, options: dict[str, Any], match: str) -> None:
    """`retries=0`, as other clients take it, meant the defaults."""
    with pytest.raises(ValueError, match=match):
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
    assert decision == Decision(
        id="a",
        glasses_probability=0.25,
        label="no_glasses",
        decision="accept",
        reason="confident",
        novelty=None,
        band=None,
        model_name="glasses",
        model_version="7",
    )


def test_model_is_requested_once(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    for _ in range(3):
        asking.decide(PIXELS)
    assert scripted.paths.count("/v1/model") == 1
    assert asking.model().size == 32
    assert scripted.paths.count("/v1/model") == 2


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


def test_a_body_that_a_proxy_refuses_is_told_from_one_that_the_gate_refuses(script: Make) -> None:
    with pytest.raises(BadImage, match="raise the limit of the proxy before the gate"):
        script(ResponseSequence([httpx.Response(413, text="nginx")])).decide(FILE)
    with pytest.raises(BadImage, match=r"it is body_too_large$"):
        script(ResponseSequence([problem(413, "body_too_large")])).decide(FILE)


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


def test_the_gate_is_checked_without_a_decision(script: Make) -> None:
    scripted = ScriptedGate()
    script(scripted).check_ready()
    assert scripted.paths == ["/v2/health/ready"]
    scripted.ready = lambda _: problem(503, "draining")
    with pytest.raises(Draining):
        script(scripted).check_ready()


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
