"""Rates, by a clock that the test turns."""

import pytest

from service.access.limits import RateLimits
from service.access.tokens import Token
from service.errors import RateLimited


def token(name: str = "gen", rate: float | None = 2.0, burst: int | None = 3) -> Token:
    digest = f"{abs(hash(name)):064x}"[:64]
    return Token(name=name, sha256=digest, scopes=frozenset(), requests_per_second=rate, burst=burst)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limits: RateLimits, who: Token, tries: int, known: tuple[Token, ...] | None = None) -> int:
    done = 0
    for _ in range(tries):
        try:
            limits.take(who, known=known or (who,))
        except RateLimited:
            continue
        done += 1
    return done


def test_burst_is_granted_at_once_and_then_the_rate_applies() -> None:
    clock = Clock()
    limits = RateLimits(clock)
    assert taken(limits, token(), 10) == 3
    clock.now += 1.0
    assert taken(limits, token(), 10) == 2
    clock.now += 3600.0
    assert taken(limits, token(), 10) == 3


def test_rate_limited_request_has_retry_after() -> None:
    limits = RateLimits(Clock())
    slow = token(rate=0.1, burst=None)
    limits.take(slow, known=(slow,))
    with pytest.raises(RateLimited) as refused:
        limits.take(slow, known=(slow,))
    assert refused.value.headers == {"Retry-After": "10"}


def test_tokens_do_not_share_and_those_without_a_rate_have_no_limit() -> None:
    limits = RateLimits(Clock())
    assert taken(limits, token("a"), 5) == 3
    assert taken(limits, token("b"), 5) == 3
    assert taken(limits, token("c", None, None), 1000) == 1000


def test_changed_rate_applies_at_once() -> None:
    limits = RateLimits(Clock())
    assert taken(limits, token(), 5) == 3
    assert taken(limits, token(burst=7), 10) == 7


def test_buckets_of_removed_tokens_are_dropped() -> None:
    limits = RateLimits(Clock())
    removed, kept = token("removed"), token("kept")
    assert taken(limits, removed, 5) == 3
    for _ in range(3):
        limits.take(kept, known=(kept,))
    # A dropped bucket is full when its token comes back, and that of a token that stayed is as it was.
    assert taken(limits, removed, 5, known=(removed, kept)) == 3
    assert taken(limits, kept, 5, known=(removed, kept)) == 0
