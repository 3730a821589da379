"""From the events of a parser to images that are complete, each with a permit, in the order in which they came."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.api.batch.ordered_results import OrderedResults
from service.api.batch.upload_events import IgnoredFile, ImageEnd, ImageStart, RefusedImage, SettleHeld, UploadEvent
from service.errors import BodyTooLarge, ServiceError
from service.ids import Identity
from service.inference.admission import Permit
from service.inference.payload import Payload
from service.runtime import Runtime

Line = dict[str, Any]
"""One line of the answer."""

Decide = Callable[[str | None, Permit, Payload[bytearray]], "asyncio.Future[Line]"]

_IDENTITY = TypeAdapter(Identity)


@dataclass(slots=True)
class _PartialImage:
    identity: str | None
    permit: Permit
    is_held: bool
    body: bytearray = field(default_factory=bytearray)
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _FailedImage:
    identity: str | None
    error: ServiceError
    is_held: bool


class Intake:
    """Takes room and a permit for an image before its first byte is kept, so that the upload waits where there is none.

    Args:
        runtime: grants the permits.
        lines: take a line of each image.
        judge: is given each complete image, whose permit it gives back.
        patience: seconds in which a byte has to come, and an image to be complete.
    """

    def __init__(self, runtime: Runtime, lines: OrderedResults[Line], *, judge: Decide, patience: float) -> None:
        self._admission = runtime.admission
        self._max_body_bytes = runtime.settings.max_body_bytes
        self._lines = lines
        self._judge = judge
        self._patience = patience
        self._coming: _PartialImage | None = None
        self._held: list[_PartialImage | _FailedImage] = []
        self.ignored = 0

    @property
    def patience(self) -> float:
        """Seconds that the next bytes may take to come. An image in the middle holds a permit: it may not dawdle."""
        if self._coming is None:
            return self._patience
        return self._coming.began + self._patience - time.monotonic()

    async def take(self, event: UploadEvent) -> None:
        """Take the next event.

        Raises:
            Draining: the service is leaving.
        """
        match event:
            case ImageStart():
                await self._begin(event)
            case RefusedImage():
                await self._room(event)
                self._done(_FailedImage(_identity(event.name), event.error, event.is_held))
            case SettleHeld():
                await self._settle(event)
            case IgnoredFile():
                self.ignored += 1
            case ImageEnd():
                self._complete()
            case _:
                self._keep(event)

    def close(self) -> None:
        """Decide what is complete, and give back what an image has that will not be."""
        if self._coming is not None:
            self._coming.permit.leave()
            self._coming = None
        held, self._held = self._held, []
        for each in held:
            self._put(each)

    async def _begin(self, begin: ImageStart) -> None:
        await self._room(begin)
        # Without a size as much as an image may have: two that wait for more while they hold some wait for ever.
        size = self._max_body_bytes if begin.size is None else begin.size
        identity = _identity(begin.name)
        if self._held and self._admission.would_wait(size):
            await self._settle(SettleHeld(is_judged=True))
        try:
            permit = await self._admission.wait(size)
        except BodyTooLarge as error:
            self._done(_FailedImage(identity, error, begin.is_held))
        else:
            self._coming = _PartialImage(identity, permit, begin.is_held)

    def _keep(self, piece: bytes | memoryview) -> None:
        if (coming := self._coming) is None:
            return
        try:
            coming.permit.receive(len(piece))
        except BodyTooLarge as error:
            coming.permit.leave()
            self._coming = None
            self._done(_FailedImage(coming.identity, error, coming.is_held))
        else:
            coming.body += piece

    def _complete(self) -> None:
        if self._coming is not None:
            coming, self._coming = self._coming, None
            coming.permit.keep(len(coming.body))
            self._done(coming)

    def _done(self, image: _PartialImage | _FailedImage) -> None:
        if image.is_held:
            self._held.append(image)
        else:
            self._put(image)

    async def _room(self, event: ImageStart | RefusedImage) -> None:
        """Take room for a line. Held images take it once they are settled: waiting for it, they would never be."""
        if not event.is_held:
            await self._lines.room()

    async def _settle(self, settle: SettleHeld) -> None:
        held, self._held = self._held, []
        for each in held:
            if settle.is_judged:
                await self._lines.room()
                self._put(each)
            else:
                self.ignored += 1
                if isinstance(each, _PartialImage):
                    each.permit.leave()

    def _put(self, image: _PartialImage | _FailedImage) -> None:
        if isinstance(image, _PartialImage):
            self._lines.put(self._judge(image.identity, image.permit, Payload(image.body)))
        else:
            line = asyncio.get_running_loop().create_future()
            line.set_result(error_line(image.error, image.identity))
            self._lines.put(line)


def error_line(error: ServiceError, identity: str | None) -> Line:
    """What is answered for an image that was not judged."""
    return {"id": identity, "error": {"code": error.code, "detail": error.detail}}


def _identity(name: str) -> str | None:
    try:
        return _IDENTITY.validate_python(name)
    except ValidationError:
        return None
