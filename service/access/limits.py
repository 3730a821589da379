"""Rate limits per token: a token bucket that refills at the token's rate."""

import math
import time
from collections.abc import Callable

from service.access.tokens import Token
from service.errors import RateLimited


class RateLimits:
    """One bucket for each token with a rate. Use from the event loop only.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, token: Token, *, known: tuple[Token, ...]) -> None:
        """Take one request from the token's bucket. Buckets of tokens that are not in `known` are dropped.

        Raises:
            RateLimited: the bucket is empty.
        """
        if token.requests_per_second is None:
            return
        bucket = self._buckets.get(token.name)
        if bucket is None or bucket.limits != (token.requests_per_second, token.capacity):
            bucket = self._open(token, {each.name for each in known})
        if wait := bucket.take(self._clock()):
            raise RateLimited(
                f'token "{token.name}" is limited to {token.requests_per_second:g} requests per second',
                retry_after=max(1, math.ceil(wait)),
            )

    def _open(self, token: Token, known: set[str]) -> "_Bucket":
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in known}
        bucket = _Bucket(token.requests_per_second or 0.0, token.capacity, self._clock())
        self._buckets[token.name] = bucket
        return bucket


class _Bucket:
    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.limits = (rate, capacity)
        self._left = capacity
        self._filled = now

    def take(self, now: float) -> float:
        """Take one request and return 0.0, or return the seconds until one is available."""
        rate, capacity = self.limits
        self._left = min(capacity, self._left + (now - self._filled) * rate)
        self._filled = now
        if self._left < 1.0:
            return (1.0 - self._left) / rate
        self._left -= 1.0
        return 0.0
