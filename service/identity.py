"""Ids that sort by time: ULIDs (48 bits of milliseconds, 80 of chance, Crockford's base 32)."""

import random
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def new_id() -> str:
    """A new ULID: 26 characters. It is no secret, so it does not ask the kernel for its chance each time."""
    value = time.time_ns() // 1_000_000 << 80 | random.getrandbits(80)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
