"""A limit on the memory that all decodes of a process hold at a time.

A header of 30 bytes may announce a picture of 67 MB. One is harmless; as many as there are threads may be more than a
container has. Images for which there is no room wait their turn, in the order in which they came: neither small nor
large ones are passed over for ever.
"""

import contextlib
import ctypes
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from gate.errors import GateError
from gate.header import ImageFormat, ImageHeader

MAX_DECODE_BYTES = 512 * 2**20
"""Default limit: 6 PNGs of 4096 x 4096 pixels, or 100 of 1024 x 1024, at a time."""

_BYTES_A_PIXEL = {ImageFormat.PNG: 5, ImageFormat.JPEG: 9, ImageFormat.WEBP: 12}
"""The most that a decoder holds of a pixel. PNG: scan lines, or Pillow's picture and a band of it; JPEG: RGB and the
coefficients of a progressive file; WebP: two canvases and a frame of RGBA."""

_TWICE = 2
"""PNG of 16-bit RGB may be decoded twice; CMYK JPEG and animated WebP are converted."""

_LARGE = 2**24
"""Bytes from which on memory goes back to the system at once: glibc would keep up to 64 MB for each thread."""


class DecodeCancelled(GateError):
    """The caller of a decode that waited for memory is gone."""


class Budget(Protocol):
    """Lets a decode begin once there is memory for it."""

    def hold(self, cost: int) -> AbstractContextManager[None]:
        """Wait until `cost` bytes are free, and hold them within a `with` block."""
        ...


def decoding_cost(header: ImageHeader, size: int) -> int:
    """Bytes that decoding a file of `size` bytes holds at most, a copy of the file included."""
    return size + header.width * header.height * _BYTES_A_PIXEL[header.format] * (_TWICE if header.is_exotic else 1)


class DecodeBudget:
    """Bytes that decodes may hold together. Safe to use from any thread.

    Args:
        limit: bytes. A picture that needs more is decoded while no other one is.
    """

    def __init__(self, limit: int = MAX_DECODE_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[DecodeClaim] = deque()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Bytes of the decodes that run now."""
        return self._held

    @property
    def waiting(self) -> int:
        """Decodes that wait for others to end."""
        return len(self._waiting)

    def claim(self) -> "DecodeClaim":
        """A budget for one image, which can be cancelled."""
        return DecodeClaim(self)

    def hold(self, cost: int) -> AbstractContextManager[None]:
        """As `Budget` says."""
        return self.claim().hold(cost)

    @contextmanager
    def _hold(self, claim: "DecodeClaim", cost: int) -> Iterator[None]:
        cost = min(cost, self._limit)
        self._take(claim, cost)
        try:
            yield
        finally:
            if cost >= _LARGE:
                _return_memory()
            with self._changed:
                self._held -= cost
                self._changed.notify_all()

    def _take(self, claim: "DecodeClaim", cost: int) -> None:
        with self._changed:
            self._waiting.append(claim)
            try:
                while not claim.is_cancelled and not self._is_next(claim, cost):
                    self._changed.wait()
                if claim.is_cancelled:
                    raise DecodeCancelled("nobody waits for this image any more")
                self._held += cost
            finally:
                self._waiting.remove(claim)
                self._changed.notify_all()  # The next one may be first now.

    def _is_next(self, claim: "DecodeClaim", cost: int) -> bool:
        return self._waiting[0] is claim and self._held + cost <= self._limit

    def _cancel(self, claim: "DecodeClaim") -> None:
        with self._changed:
            claim.is_cancelled = True
            self._changed.notify_all()


class DecodeClaim:
    """One image's share of a budget."""

    def __init__(self, budget: DecodeBudget) -> None:
        self.is_cancelled = False
        self._budget = budget

    def hold(self, cost: int) -> AbstractContextManager[None]:
        """As `Budget` says.

        Raises:
            DecodeCancelled: `cancel` was called before its turn came.
        """
        return self._budget._hold(self, cost)

    def cancel(self) -> None:
        """Leave the queue. A decode that has begun is finished."""
        self._budget._cancel(self)


def _return_memory() -> None:
    """Have the allocator give back what is free; only glibc has, and needs, a function for it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
