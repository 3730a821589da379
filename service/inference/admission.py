"""Who may come in: decided before a body is read, by its size, by bytes and images in flight and by the wait ahead."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from service.errors import BodyTooLarge, Draining, Overloaded
from service.inference.caller_shares import Shares

SHED_REASONS = ("images", "bytes", "deadline", "streams", "rate_limit")

# Streams come in as long as less than this share is taken: the rest is for who cannot wait.
_STREAMS_SHARE = 0.75


class Admission:
    """Counts what is in flight. Used from the event loop alone, so it needs no lock.

    Args:
        max_images: most images between admission and answer.
        max_bytes: most bytes of bodies held at a time.
        max_body_bytes: largest body of one image.
        predicted_wait: seconds until an image that came now would be answered.
        max_streams: most streams of images at a time.
        share: of images, bytes and streams, for one caller whose bodies are still on the way.
    """

    def __init__(
        self,
        *,
        max_images: int,
        max_bytes: int,
        max_body_bytes: int,
        predicted_wait: Callable[[], float],
        max_streams: int = 32,
        share: float = 0.5,
    ) -> None:
        self.images = 0
        self.bytes = 0
        self.streams = 0
        self._max_body_bytes = max_body_bytes
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._predicted_wait = predicted_wait
        self._max_streams = max_streams
        self._streams_images = max(1, int(max_images * _STREAMS_SHARE))
        # One image of any size always fits where nothing else is.
        self._streams_bytes = max(max_body_bytes, int(max_bytes * _STREAMS_SHARE))
        self._shares = Shares(share, {"images": max_images, "bytes": max_bytes, "streams": max_streams})
        self._draining = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def admit(
        self,
        content_length: int | None,
        timeout: float,
        *,
        max_body_bytes: int | None = None,
        caller: str | None = None,
    ) -> "Permit":
        """Take a permit for one image of `content_length` bytes, if known, to be answered within `timeout` seconds.

        `max_body_bytes` is for bodies that hold more than one image; without a `caller` no share is counted.

        Raises:
            Draining: the service is leaving.
            BodyTooLarge: the body is announced to be larger than it may be.
            Overloaded: images, bytes or the wait ahead are too many.
        """
        self._check_open()
        permit = Permit(self, max_body_bytes or self._max_body_bytes, caller=caller)
        permit.check_body(content_length or 0)
        self.check_wait(timeout)
        try:
            permit.take_images(1)
            permit.reserve(content_length or 0)
        except Overloaded:
            permit.leave()
            raise
        return permit

    @contextmanager
    def stream(self, caller: str | None = None) -> Iterator[None]:
        """Count one stream, whose images then `wait` for their permits.

        Raises:
            Draining: the service is leaving.
            Overloaded: there are as many streams as may be.
        """
        self._check_open()
        if self.streams >= self._max_streams:
            raise self._overloaded("streams", f"{self.streams} streams are open")
        self._take_share(caller, "streams", 1)
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1
            if caller is not None:
                self._shares.give_back(caller, "streams", 1)

    async def wait(self, size: int) -> "Permit":
        """A permit for one image of `size` bytes, as soon as there is one: the back-pressure of a stream.

        Those that wait come in one after the other, in the order in which they began to, and leave the last quarter of
        images and bytes to those that are refused where there is no room. Reserve all that an image may come to need:
        two that hold a part each and wait for more would wait for ever.

        Raises:
            Draining: the service is leaving.
            BodyTooLarge: the image is larger than it may be.
        """
        permit = Permit(self, self._max_body_bytes)
        permit.check_body(size)
        if self.would_wait(size):
            await self._turn(size)
        self._check_open()
        permit.take_images(1)
        permit.reserve(size)
        self._wake()
        return permit

    def would_wait(self, size: int) -> bool:
        """Whether `wait` would not return at once."""
        return bool(self._waiting) or not self._has_room(size)

    def drain(self) -> None:
        """Admit nothing more."""
        self._draining = True
        self._wake()

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    def check_wait(self, timeout: float) -> None:
        """Raise Overloaded where an image that came now would be answered after more than `timeout` seconds."""
        if (wait := self._predicted_wait()) > timeout:
            raise self._overloaded("deadline", f"the wait is {wait:.1f} s, the deadline {timeout:.1f} s")

    async def _turn(self, size: int) -> None:
        """Return when all who waited before are in, and there is room or nothing more to wait for."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            while not self._draining and not (self._waiting[0] is mine and self._has_room(size)):
                await mine
                position = self._waiting.index(mine)
                mine = self._waiting[position] = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.remove(mine)
            self._wake()

    def _wake(self) -> None:
        """Let those who wait look again: the first, or all of them when there is nothing to wait for."""
        for waiting in tuple(self._waiting) if self._draining else tuple(self._waiting)[:1]:
            if not waiting.done():
                waiting.set_result(None)

    def _has_room(self, size: int) -> bool:
        return self.images < self._streams_images and self.bytes + size <= self._streams_bytes

    def _check_open(self) -> None:
        if self._draining:
            raise Draining("the service is shutting down: send this to another replica")

    def _take_images(self, count: int) -> None:
        if self.images + count > self._max_images:
            raise self._overloaded("images", f"{self.images} images are in flight, {self._max_images} may be")
        self.images += count

    def _take_bytes(self, size: int) -> None:
        if self.bytes + size > self._max_bytes:
            raise self._overloaded("bytes", f"{self.bytes:,} bytes are in flight")
        self.bytes += size

    def _take_share(self, caller: str | None, kind: str, amount: int, *, own: int = 0) -> None:
        if caller is not None and not self._shares.take(caller, kind, amount, own=own):
            text = f"this caller's share of {kind} is taken by bodies on the way (LENSGATE_MAX_SHARE_PER_CALLER)"
            raise self._overloaded(kind, text)

    def _give_back(self, *, images: int = 0, size: int = 0) -> None:
        self.images -= images
        self.bytes -= size
        self._wake()

    def _overloaded(self, reason: str, detail: str) -> Overloaded:
        retry_after = max(1, math.ceil(self._predicted_wait()))
        return Overloaded(f"{detail}: try again in {retry_after} s", reason=reason, retry_after=retry_after)


class Permit:
    """One admitted body with one image or more. Leaving its `with` block gives everything back."""

    def __init__(self, admission: Admission, max_body_bytes: int, *, caller: str | None = None) -> None:
        self.images = 0
        # Whose share is counted, until the body has come.
        self._caller = caller
        self._admission = admission
        self._max_body_bytes = max_body_bytes
        self._reserved = 0
        self._received = 0

    def check_body(self, size: int) -> None:
        """Raise BodyTooLarge where a body of `size` bytes may not come in."""
        if size > self._max_body_bytes:
            raise BodyTooLarge(f"the body has {size:,} bytes or more: {self._max_body_bytes:,} are allowed")

    def reserve(self, size: int) -> None:
        """Count `size` bytes that are announced, or more than were.

        Raises:
            BodyTooLarge, Overloaded: as on admission.
        """
        self.check_body(self._reserved + size)
        self._admission._take_share(self._caller, "bytes", size, own=self._reserved)
        try:
            self._admission._take_bytes(size)
        except Overloaded:
            self._give_back_share(size=size)
            raise
        self._reserved += size

    def receive(self, size: int) -> None:
        """Count `size` bytes that came; a body without a Content-Length is reserved as it comes.

        Raises:
            BodyTooLarge, Overloaded: as on admission.
        """
        self._received += size
        if self._received > self._reserved:
            self.reserve(self._received - self._reserved)

    def take_images(self, count: int) -> None:
        """Count `count` images more: the body holds them.

        Raises:
            Overloaded: there are too many in flight.
        """
        self._admission._take_share(self._caller, "images", count)
        try:
            self._admission._take_images(count)
        except Overloaded:
            self._give_back_share(images=count)
            raise
        self.images += count

    def complete(self) -> None:
        """Count the caller's share no longer: the body has come."""
        self._give_back_share(images=self.images, size=self._reserved)
        self._caller = None

    def _give_back_share(self, *, images: int = 0, size: int = 0) -> None:
        if self._caller is not None:
            self._admission._shares.give_back(self._caller, "images", images)
            self._admission._shares.give_back(self._caller, "bytes", size)

    def keep(self, size: int) -> None:
        """The body is complete and has `size` bytes: what was reserved beyond is given back."""
        self.complete()
        self._admission._give_back(size=self._reserved - size)
        self._reserved = size

    def release_bytes(self) -> None:
        """The body is no longer held: it was decoded."""
        self.keep(0)
        self._received = 0

    def leave(self) -> None:
        """Give everything back; a second time changes nothing."""
        self.release_bytes()
        self._admission._give_back(images=self.images)
        self.images = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
