"""Rate limits per token: a token bucket that refills at the token's rate."""

import math
import time
from collections.abc import Callable

from service.access.shared_buckets import SharedBuckets
from service.access.tokens import Token
from service.errors import RateLimited


class RateLimits:
    """One bucket for each token with a rate. Use from the event loop only.

    Args:
        clock: monotonic clock in seconds.
        shared: the buckets of all workers; None for a service of one process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, shared: SharedBuckets | None = None) -> None:
        self._clock = clock
        self._shared = shared
        self._buckets: dict[str, _Bucket] = {}

    def take(self, token: Token, *, known: tuple[Token, ...]) -> None:
        """Take one request from the token's bucket. Buckets of tokens that are not in `known` are dropped.

        Raises:
            RateLimited: the bucket is empty.
        """
        if token.requests_per_second is None:
            return
        if wait := self._wait(token, token.requests_per_second, known):
            raise RateLimited(
                f'token "{token.name}" is limited to {token.requests_per_second:g} requests per second',
                retry_after=max(1, math.ceil(wait)),
            )

    def _wait(self, token: Token, rate: float, known: tuple[Token, ...]) -> float:
        if self._shared is not None:
            return self._shared.take(token.name, rate=rate, capacity=token.capacity, now=self._clock())
        bucket = self._buckets.get(token.name)
        if bucket is None or bucket.limits != (rate, token.capacity):
            bucket = self._open(token, {each.name for each in known})
        return bucket.take(self._clock())

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
