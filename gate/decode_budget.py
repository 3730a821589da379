"""Limit the memory that all decodes of a process hold at a time.

A header of 30 bytes may announce an image of 67 MB. One is harmless; one in each thread may exceed the memory of a
container. Images that do not fit wait in first-in, first-out order, so neither small nor large ones starve.
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
"""Peak memory of each decoder per pixel. PNG: scan lines, or Pillow's image and a band of it; JPEG: RGB and the
coefficients of a progressive file; WebP: two canvases and a frame of RGBA."""

_TWICE = 2
"""16-bit RGB PNGs may be decoded twice; CMYK JPEGs and animated WebPs are converted."""

_LARGE = 2**24
"""Decodes from this size on return their memory to the system at once: glibc would keep up to 64 MB a thread."""


class DecodeCancelled(GateError):
    """The caller left while the decode waited for memory."""


class Budget(Protocol):
    """Delays a decode until there is memory for it."""

    def hold(self, cost: int) -> AbstractContextManager[None]:
        """Wait until `cost` bytes are free, and hold them during the `with` block."""
        ...


def decoding_cost(header: ImageHeader, size: int) -> int:
    """Return the peak memory in bytes of decoding a file of `size` bytes, a copy of the file included."""
    decoded = header.width * header.height * _BYTES_A_PIXEL[header.format]
    return size + decoded * (_TWICE if header.needs_conversion else 1)


class DecodeBudget:
    """A memory limit that all decodes share. Safe to use from any thread.

    Args:
        limit: bytes. An image that needs more is decoded alone.
    """

    def __init__(self, limit: int = MAX_DECODE_BYTES) -> None:
        self._limit = limit
        self.held = 0
        """Bytes held by running decodes."""
        self._waiting: deque[DecodeClaim] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Number of decodes that wait for memory."""
        return len(self._waiting)

    def claim(self) -> "DecodeClaim":
        """Return a budget for one image, which can be cancelled."""
        return DecodeClaim(self)

    def hold(self, cost: int) -> AbstractContextManager[None]:
        """Hold `cost` bytes, as `Budget.hold` describes."""
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
                self.held -= cost
                self._changed.notify_all()

    def _take(self, claim: "DecodeClaim", cost: int) -> None:
        with self._changed:
            self._waiting.append(claim)
            try:
                while not claim.is_cancelled and not self._is_next(claim, cost):
                    self._changed.wait()
                if claim.is_cancelled:
                    raise DecodeCancelled("the caller cancelled this image while it waited for memory")
                self.held += cost
            finally:
                self._waiting.remove(claim)
                self._changed.notify_all()  # Another claim may be first in the queue now.

    def _is_next(self, claim: "DecodeClaim", cost: int) -> bool:
        return self._waiting[0] is claim and self.held + cost <= self._limit

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
        """Hold `cost` bytes, as `Budget.hold` describes.

        Raises:
            DecodeCancelled: `cancel` was called while the claim waited.
        """
        return self._budget._hold(self, cost)

    def cancel(self) -> None:
        """Leave the queue. A decode that has begun runs to its end."""
        self._budget._cancel(self)


def _return_memory() -> None:
    """Return free heap memory to the system; only glibc has, and needs, `malloc_trim`."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
