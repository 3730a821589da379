"""Admission control: accept or reject a request before its body is read, by size, load and predicted wait."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from service.errors import BodyTooLarge, Draining, Overloaded, ShedReason
from service.inference.caller_shares import Shares
from service.timings import show_duration

# Streams are admitted while less than this share is taken; the rest is for single requests, which cannot wait.
_STREAMS_SHARE = 0.75


class Admission:
    """Counts images, bytes and streams in flight. Used only from the event loop, so it needs no lock.

    Args:
        max_images: limit of images between admission and answer.
        max_bytes: limit of the bytes of all bodies held at a time.
        max_body_bytes: largest body of one image.
        predicted_wait: seconds until an image that arrives now is answered.
        max_streams: limit of batch uploads at a time.
        share: largest share of images, bytes and streams for one caller whose bodies are still arriving.
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
        # One image of any allowed size always fits into an idle service.
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
        """Grant a permit for one image of `content_length` bytes, if known, to be answered within `timeout` seconds.

        `max_body_bytes` is for bodies of more than one image; without a `caller` no share is counted.

        Raises:
            Draining: the service is shutting down.
            BodyTooLarge: the announced size exceeds the limit.
            Overloaded: too many images or bytes are in flight, or the predicted wait exceeds the timeout.
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
        """Count one batch upload; its images then `wait` for their permits.

        Raises:
            Draining: the service is shutting down.
            Overloaded: the limit of streams is reached.
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
        """Wait for a permit for one image of `size` bytes: the back-pressure of a stream.

        Waiting images are admitted first in, first out. They leave the last quarter of images and bytes to single
        requests, which are rejected at the limit. Reserve the largest size that an image may reach: two images that
        hold a part each and wait for the rest would deadlock.

        Raises:
            Draining: the service is shutting down.
            BodyTooLarge: the image exceeds the limit.
        """
        permit = Permit(self, self._max_body_bytes)
        permit.check_body(size)
        if self.would_wait(size):
            await self._wait_turn(size)
        self._check_open()
        permit.take_images(1)
        permit.reserve(size)
        self._wake()
        return permit

    def would_wait(self, size: int) -> bool:
        """Whether `wait` would block."""
        return bool(self._waiting) or not self._has_room(size)

    def drain(self) -> None:
        """Reject all further requests and wake all waiting images."""
        self._draining = True
        self._wake()

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    def check_wait(self, timeout: float) -> None:
        """Raise Overloaded if the predicted wait exceeds `timeout` seconds."""
        if (wait := self._predicted_wait()) > timeout:
            text = f"the wait is {show_duration(wait)}, the deadline {show_duration(timeout)}"
            raise self._overloaded("deadline", text)

    async def _wait_turn(self, size: int) -> None:
        """Return when it is this image's turn and there is room, or when the service drains."""
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
        """Wake the first waiting image, or all of them when the service drains."""
        for waiting in tuple(self._waiting) if self._draining else tuple(self._waiting)[:1]:
            if not waiting.done():
                waiting.set_result(None)

    def _has_room(self, size: int) -> bool:
        return self.images < self._streams_images and self.bytes + size <= self._streams_bytes

    def _check_open(self) -> None:
        if self._draining:
            raise Draining("the service is shutting down: send this to another replica")

    def _take_images(self, count: int, *, own: int) -> None:
        # A request that exceeds the limit by itself is admitted into an idle service: its own size has a limit, too.
        if self.images > own and self.images + count > self._max_images:
            raise self._overloaded("images", f"{self.images} images are in flight; the limit is {self._max_images}")
        self.images += count

    def _take_bytes(self, size: int, *, own: int) -> None:
        if self.bytes > own and self.bytes + size > self._max_bytes:
            raise self._overloaded("bytes", f"{self.bytes:,} bytes are in flight")
        self.bytes += size

    def _take_share(self, caller: str | None, kind: ShedReason, amount: int, *, own: int = 0) -> None:
        if caller is not None and not self._shares.take(caller, kind, amount, own=own):
            text = f"this caller's share of {kind} is taken by arriving bodies (LENSGATE_MAX_SHARE_PER_CALLER)"
            raise self._overloaded(kind, text)

    def _give_back(self, *, images: int = 0, size: int = 0) -> None:
        self.images -= images
        self.bytes -= size
        self._wake()

    def _overloaded(self, reason: ShedReason, detail: str) -> Overloaded:
        retry_after = max(1, math.ceil(self._predicted_wait()))
        return Overloaded(f"{detail}: try again in {retry_after} s", reason=reason, retry_after=retry_after)


class Permit:
    """Counts one admitted body and its images. The end of its `with` block releases everything."""

    def __init__(self, admission: Admission, max_body_bytes: int, *, caller: str | None = None) -> None:
        self.images = 0
        self.is_complete = False
        # The caller whose share is counted until the body is complete.
        self._caller = caller
        self._admission = admission
        self._max_body_bytes = max_body_bytes
        self._reserved = 0
        self._received = 0

    def check_body(self, size: int) -> None:
        """Raise BodyTooLarge if a body of `size` bytes exceeds the limit."""
        if size > self._max_body_bytes:
            raise BodyTooLarge(
                f"the body has {size:,} bytes or more; the limit is {self._max_body_bytes:,}: send a smaller image, "
                "or fewer at a time"
            )

    def reserve(self, size: int) -> None:
        """Reserve `size` further bytes, announced or beyond the announced size.

        Raises:
            BodyTooLarge, Overloaded: as on admission.
        """
        self.check_body(self._reserved + size)
        self._admission._take_share(self._caller, "bytes", size, own=self._reserved)
        try:
            self._admission._take_bytes(size, own=self._reserved)
        except Overloaded:
            self._give_back_share(size=size)
            raise
        self._reserved += size

    def receive(self, size: int) -> None:
        """Count `size` received bytes; a body without a Content-Length is reserved as it arrives.

        Raises:
            BodyTooLarge, Overloaded: as on admission.
        """
        self._received += size
        if self._received > self._reserved:
            self.reserve(self._received - self._reserved)

    def take_images(self, count: int) -> None:
        """Count `count` further images of the body.

        Raises:
            Overloaded: too many images are in flight.
        """
        self._admission._take_share(self._caller, "images", count, own=self.images)
        try:
            self._admission._take_images(count, own=self.images)
        except Overloaded:
            self._give_back_share(images=count)
            raise
        self.images += count

    def complete(self) -> None:
        """Release the caller's share: the body is complete."""
        self.is_complete = True
        self._give_back_share(images=self.images, size=self._reserved)
        self._caller = None

    def _give_back_share(self, *, images: int = 0, size: int = 0) -> None:
        if self._caller is not None:
            self._admission._shares.give_back(self._caller, "images", images)
            self._admission._shares.give_back(self._caller, "bytes", size)

    def keep(self, size: int) -> None:
        """Keep `size` bytes of the complete body and release the rest of the reservation."""
        self.complete()
        self._admission._give_back(size=self._reserved - size)
        self._reserved = size

    def release_bytes(self) -> None:
        """Release the body's bytes: it is decoded."""
        self.keep(0)
        self._received = 0

    def leave(self) -> None:
        """Release everything. Idempotent."""
        self.release_bytes()
        self._admission._give_back(images=self.images)
        self.images = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
