"""The gate serves another model or limit than the client has seen."""

from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    Ask,
    ImageFailed,
    RequestRefused,
    Unauthorized,
)

from tests.client.support import (
    FILE,
    PIXELS,
    Make,
    ResponseSequence,
    ScriptedGate,
    accepted_tensor,
    card,
    problem,
    read_head,
)
from tests.support.images import flat


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
