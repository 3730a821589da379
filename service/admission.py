"""Who may come in: decided before a body is read, by its size, by bytes and images in flight and by the wait ahead."""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from service.errors import BodyTooLarge, Draining, Overloaded

SHED_REASONS = ("images", "bytes", "deadline")


class Admission:
    """Counts what is in flight. Used from the event loop alone, so it needs no lock.

    Args:
        max_images: most images between admission and answer.
        max_bytes: most bytes of bodies held at a time.
        max_body_bytes: largest body of one image.
        predicted_wait: seconds until an image that came now would be answered.
    """

    def __init__(
        self, *, max_images: int, max_bytes: int, max_body_bytes: int, predicted_wait: Callable[[], float]
    ) -> None:
        self.images = 0
        self.bytes = 0
        self._max_body_bytes = max_body_bytes
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._predicted_wait = predicted_wait
        self._draining = False

    def admit(self, content_length: int | None, timeout: float) -> "Place":
        """Take a place for one image of `content_length` bytes, if known, to be answered within `timeout` seconds.

        Raises:
            Draining: the service is leaving.
            BodyTooLarge: the body is announced to be larger than an image may be.
            Overloaded: images, bytes or the wait ahead are too many.
        """
        if self._draining:
            raise Draining("the service is shutting down: send this to another replica")
        self._check_body(content_length or 0)
        if self.images >= self._max_images:
            raise self._overloaded("images", f"{self.images} images are in flight")
        if (wait := self._predicted_wait()) > timeout:
            raise self._overloaded("deadline", f"the wait is {wait:.1f} s, the deadline {timeout:.1f} s")
        place = Place(self)
        place.reserve(content_length or 0)
        self.images += 1
        return place

    def drain(self) -> None:
        """Admit nothing more."""
        self._draining = True

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    def _check_body(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise BodyTooLarge(f"the body has {size:,} bytes or more: an image may have {self._max_body_bytes:,}")

    def _take_bytes(self, size: int, total: int) -> None:
        self._check_body(total)
        if self.bytes + size > self._max_bytes:
            raise self._overloaded("bytes", f"{self.bytes:,} bytes are in flight")
        self.bytes += size

    def _overloaded(self, reason: str, detail: str) -> Overloaded:
        retry_after = max(1, math.ceil(self._predicted_wait()))
        return Overloaded(f"{detail}: try again in {retry_after} s", reason=reason, retry_after=retry_after)


class Place:
    """One admitted image. Leaving its `with` block gives everything back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._reserved = 0
        self._received = 0

    def reserve(self, size: int) -> None:
        """Count `size` bytes that are announced, or more than were."""
        self._admission._take_bytes(size, self._reserved + size)
        self._reserved += size

    def receive(self, size: int) -> None:
        """Count `size` bytes that came; a body without a Content-Length is reserved as it comes.

        Raises:
            BodyTooLarge, Overloaded: as on admission.
        """
        self._received += size
        if self._received > self._reserved:
            self.reserve(self._received - self._reserved)

    def release_bytes(self) -> None:
        """The body is no longer held: it was decoded."""
        self._admission.bytes -= self._reserved
        self._reserved = self._received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release_bytes()
        self._admission.images -= 1
