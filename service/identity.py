"""Ids that sort by time: ULIDs (48 bits of milliseconds, 80 of chance, Crockford's base 32)."""

import random
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def new_id() -> str:
    """A new ULID: 26 characters. It is no secret, so it does not ask the kernel for its chance each time."""
    return _write(time.time_ns() // 1_000_000 << 80 | random.getrandbits(80))


def least_id(milliseconds: int) -> str:
    """What sorts before every ULID of this time, since 1970, and after every earlier one."""
    return _write(milliseconds << 80)


def _write(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
