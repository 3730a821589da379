"""Retry delays and the retry budget."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from lensgate_client import GateUnreachable, Overloaded, Retries
from lensgate_client.errors import BadImage, DeadlineExceeded, NotReady, RateLimited, ServiceFault
from lensgate_client.retries import RetryBudget, read_retry_after

from tests.client.support import Clock

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), (" 7 ", 7.0), ("120", 120.0), ("9" * 40, 999999999.0)])
def test_retry_after_seconds_are_parsed(text: str, seconds: float) -> None:
    assert read_retry_after({"retry-after": text}, now=0.0) == seconds


def test_retry_after_date_is_relative_to_the_date_header() -> None:
    headers = {"retry-after": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}
    assert read_retry_after(headers, now=NOW.timestamp() - 1) == 10.0
    headers["date"] = format_datetime(NOW, usegmt=True)
    assert read_retry_after(headers, now=NOW.timestamp() - 10_000) == 9.0


def test_past_retry_after_date_is_zero_seconds() -> None:
    headers = {"retry-after": format_datetime(NOW, usegmt=True)}
    assert read_retry_after(headers, now=NOW.timestamp() + 5) == 0.0


@pytest.mark.parametrize("text", ["", "soon", "-3", "1.5", "٣", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_malformed_retry_after_is_ignored(text: str) -> None:
    assert read_retry_after({"retry-after": text}, now=0.0) is None


def test_wait_respects_retry_after_and_grows_exponentially() -> None:
    retries = Retries(first_wait=0.1, longest_wait=1.0)
    told, untold = Overloaded("", retry_after=3.0), NotReady("")
    assert retries.wait(told, 0, chance=0.0) == 3.0
    assert retries.wait(told, 0, chance=0.5) == pytest.approx(3.05)
    assert [retries.wait(untold, attempt, chance=0.5) for attempt in range(6)] == pytest.approx(
        [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    )
    assert retries.wait(untold, 10_000, chance=1.0) == 1.0


def test_only_safe_errors_are_retried() -> None:
    retries = Retries()
    for error in (
        Overloaded(""),
        RateLimited(""),
        NotReady(""),
        GateUnreachable(""),
        GateUnreachable("", is_lost=True),
    ):
        assert retries.allow(error)
    for other in (BadImage(""), ServiceFault(""), DeadlineExceeded("")):
        assert not retries.allow(other)
    assert not Retries(repeat_lost=False).allow(GateUnreachable("", is_lost=True))
    assert Retries(repeat_lost=False).allow(GateUnreachable(""))


def test_budget_refills_with_time_and_requests() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=0.25, minimum=2.0), clock)
    assert [budget.withdraw() for _ in range(21)] == [True] * 20 + [False]
    clock.sleep(1.0)
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.deposit()
    assert [budget.withdraw() for _ in range(2)] == [True, False]


def test_budget_is_limited_to_its_capacity() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=1.0, minimum=2.0), clock)
    clock.sleep(10_000.0)
    for _ in range(500):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 20


def test_ratio_limits_retries_without_a_minimum() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=0.1, minimum=0.0), clock)
    repeated = 0
    for _ in range(1000):
        budget.deposit()
        repeated += budget.withdraw()
        clock.sleep(1.0)
    assert 99 <= repeated <= 100


@pytest.mark.parametrize("number", [-0.1, math.nan])
def test_negative_numbers_are_rejected(number: float) -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        Retries(ratio=number)
    with pytest.raises(ValueError, match="must be >= 0"):
        Retries(longest_outage=number)
