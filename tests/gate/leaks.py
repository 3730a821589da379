"""Find memory that failed decodes leak, in any format.

A decoder that leaks its image on an error path ends a service that receives enough broken images. Ten thousand failures
of small images show a leak within seconds.
"""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path

from gate import ImageError

RUNS = 10_000
WARM_UP = 2_000
"""Failures before the first measurement: caches, arenas and interned names have then reached their size."""

ROUNDS = 3
"""A leak grows in every round; noise from allocators and other tests does not."""

MAX_BYTES = 2**18
"""Allowed growth. A hundred kinds that share 10,000 runs fail 100 times each: a picture of 64 x 64 bytes kept by one
kind alone makes 400 kB."""


def assert_nothing_leaks(
    decode: Callable[[bytes], object], failures: Mapping[str, bytes], *, runs: int = RUNS, most_bytes: int = MAX_BYTES
) -> None:
    """Fail `decode` on each of `failures` in turn, `runs` times in all, and compare memory and references to None.

    Args:
        decode: raises `ImageError` on every one of the failures.
        failures: damaged files by name; pictures of about 64 x 64 are large enough to be missed.
        runs: failures between two measurements, shared by all kinds.
        most_bytes: resident memory that they may add together.
    """
    for name, data in failures.items():
        assert _fails(decode, data), f"{name} was decoded"
    _fail_often(decode, failures, WARM_UP)
    for _ in range(ROUNDS):
        before, nones = resident_bytes(), sys.getrefcount(None)
        _fail_often(decode, failures, runs)
        grown, lost = resident_bytes() - before, abs(sys.getrefcount(None) - nones)
        # Python 3.11 counts references to None, and ends the process where none is left.
        if grown <= most_bytes and lost < runs // len(failures) // 2:
            return
    raise AssertionError(f"{runs} failures added {grown:,} bytes and moved the references to None by {lost}")


def resident_bytes() -> int:
    """Memory that this process holds, once everything that is free was given back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _fail_often(decode: Callable[[bytes], object], failures: Mapping[str, bytes], runs: int) -> None:
    for data in islice(cycle(failures.values()), runs):
        _fails(decode, data)


def _fails(decode: Callable[[bytes], object], data: bytes) -> bool:
    try:
        decode(data)
    except ImageError:
        return True
    return False
