"""Calls that are sent again: waits, outages, deadlines and the budget."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from lensgate_client import (
    DeadlineExceeded,
    Draining,
    GateError,
    GateUnreachable,
    NotReady,
    Overloaded,
    RateLimited,
    Retries,
)

from tests.client.support import (
    FILE,
    Clock,
    Make,
    ResponseSequence,
    ScriptedGate,
    accepted,
    of_one_class,
    problem,
)


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


def test_expired_call_sends_no_request(script: Make) -> None:
    scripted = ScriptedGate()
    with pytest.raises(DeadlineExceeded, match="before its request was sent"):
        script(scripted).decide(FILE, timeout=-1.0)
    for seconds in (math.inf, math.nan, 2_147_484):
        with pytest.raises(ValueError, match=f"at most 2,147,483 seconds, not {seconds}"):
            script(scripted).decide(FILE, timeout=seconds)
    assert scripted.seen == []


def test_a_failure_is_final_if_retries_are_off(script: Make, clock: Clock) -> None:
    asking = script(ResponseSequence([problem(503, "draining")]), retries=Retries(ratio=0, minimum=0))
    with pytest.raises(Draining, match=r"\(not retried: retries are off\)"):
        asking.decide(FILE)
    assert clock.slept == []


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
