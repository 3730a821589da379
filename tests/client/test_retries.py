"""How long to wait, and how often."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from lensgate_client import GateUnreachable, Overloaded, Retries
from lensgate_client.errors import BadImage, DeadlineExceeded, NotReady, RateLimited, ServiceFault
from lensgate_client.retries import RetryBudget, read_retry_after

from tests.client.support import Clock

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), (" 7 ", 7.0), ("120", 120.0), ("9" * 40, 999999999.0)])
def test_seconds_are_read(text: str, seconds: float) -> None:
    assert read_retry_after({"retry-after": text}, now=0.0) == seconds


def test_a_date_is_held_against_the_answers_own() -> None:
    headers = {"retry-after": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}
    assert read_retry_after(headers, now=NOW.timestamp() - 1) == 10.0
    headers["date"] = format_datetime(NOW, usegmt=True)
    assert read_retry_after(headers, now=NOW.timestamp() - 10_000) == 9.0


def test_a_date_that_is_over_is_now() -> None:
    headers = {"retry-after": format_datetime(NOW, usegmt=True)}
    assert read_retry_after(headers, now=NOW.timestamp() + 5) == 0.0


@pytest.mark.parametrize("text", ["", "soon", "-3", "1.5", "٣", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_what_makes_no_sense_is_passed_over(text: str) -> None:
    assert read_retry_after({"retry-after": text}, now=0.0) is None


def test_a_wait_is_never_shorter_than_the_gate_says_and_grows_where_it_says_nothing() -> None:
    retries = Retries(first_wait=0.1, longest_wait=1.0)
    told, untold = Overloaded("", retry_after=3.0), NotReady("")
    assert retries.wait(told, 0, chance=0.0) == 3.0
    assert retries.wait(told, 0, chance=0.5) == pytest.approx(3.05)
    assert [retries.wait(untold, attempt, chance=0.5) for attempt in range(6)] == pytest.approx(
        [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    )
    assert retries.wait(untold, 10_000, chance=1.0) == 1.0


def test_only_what_is_safe_is_repeated() -> None:
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


def test_a_budget_is_filled_by_time_and_by_requests() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=0.25, minimum=2.0), clock)
    assert [budget.withdraw() for _ in range(21)] == [True] * 20 + [False]
    clock.sleep(1.0)
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.deposit()
    assert [budget.withdraw() for _ in range(2)] == [True, False]


def test_a_budget_holds_no_more_than_its_reserve() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=1.0, minimum=2.0), clock)
    clock.sleep(10_000.0)
    for _ in range(500):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 20


def test_without_a_minimum_retries_are_a_share_of_the_requests() -> None:
    clock = Clock()
    budget = RetryBudget(Retries(ratio=0.1, minimum=0.0), clock)
    repeated = 0
    for _ in range(1000):
        budget.deposit()
        repeated += budget.withdraw()
        clock.sleep(1.0)
    assert 99 <= repeated <= 100


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        Retries(ratio=-0.1)
