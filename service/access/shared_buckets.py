"""Token buckets in memory that all workers of a service share, so that a rate holds for the machine."""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

_BUCKET = struct.Struct("=16sdddd")  # Hash of the name, rate, capacity, requests left, and when that was so.
_PROBES = 32
_TRIES = 100
_EMPTY = bytes(16)


def make_memory(buckets: int = 8192) -> int:
    """Return a descriptor of zeroed memory without a name, which processes inherit; 384 KiB by default."""
    memory = os.memfd_create("lensgate-rates", 0)
    os.truncate(memory, _BUCKET.size * buckets)
    return memory


class SharedBuckets:
    """Buckets by name. A full bucket equals a new one, so its place may be given to another name.

    Args:
        memory: made by `make_memory`; the descriptor stays open.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._map = mmap.mmap(memory, 0)
        self._buckets = len(self._map) // _BUCKET.size

    def take(self, name: str, *, rate: float, capacity: float, now: float) -> float:
        """Take one request and return 0.0, or return the seconds until one is available.

        Args:
            name: of the bucket.
            rate: requests per second.
            capacity: most requests in the bucket.
            now: seconds of the monotonic clock, which all processes of a machine share.
        """
        key = blake2b(name.encode(), digest_size=16).digest()
        with self._locked():
            place, left = self._find(key, capacity, now)
            granted = left >= 1.0
            _BUCKET.pack_into(self._map, place, key, rate, capacity, left - granted, now)
        return 0.0 if granted else (1.0 - left) / rate

    def _find(self, key: bytes, capacity: float, now: float) -> tuple[int, float]:
        """Return the offset of the bucket, or of one to replace, and the requests in it."""
        spare, most = 0, -1.0
        for offset in self._probe(key):
            owner, rate, size, left, at = _BUCKET.unpack_from(self._map, offset)
            left = min(size, left + max(0.0, now - at) * rate)
            if owner == key:
                return offset, min(left, capacity)
            fullness = left / size if owner != _EMPTY else 2.0
            if fullness > most:
                spare, most = offset, fullness
        return spare, capacity

    def _probe(self, key: bytes) -> Iterator[int]:
        start = int.from_bytes(key[:4], "big")
        return (((start + step) % self._buckets) * _BUCKET.size for step in range(_PROBES))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the memory; the kernel unlocks it if the process dies.

        The lock is held for microseconds. A stopped process that holds it must not stop the others, so they go on
        without it after a number of tries: at worst they miscount a request.
        """
        has_lock = any(self._try_lock() or self._give_way() for _ in range(_TRIES))
        try:
            yield
        finally:
            if has_lock:
                fcntl.lockf(self._memory, fcntl.LOCK_UN)

    @staticmethod
    def _give_way() -> bool:
        """Yield the processor to a process that was preempted while it held the lock; return False."""
        os.sched_yield()
        return False

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
