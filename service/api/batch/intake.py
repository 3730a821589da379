"""Collect complete images from parser events, each with a permit, in the order of arrival."""

import asyncio
import time
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the answer, and what the log tells of an image without a decision.

    Attributes:
        body: the JSON.
        status: of the answer that the image alone would have got; None with a decision.
        seconds: from its last byte to the error.
        stages: milliseconds of each stage before the error.
    """

    body: dict[str, Any]
    status: int | None = None
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


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
    """Obtains a permit for each image before its first byte is kept; back-pressure holds the upload until then.

    Args:
        runtime: grants the permits.
        lines: receive a line for each image.
        decide: takes each complete image and releases its permit.
        timeout: seconds that the next byte may take, and an image.
    """

    def __init__(self, runtime: Runtime, lines: OrderedResults[Line], *, decide: Decide, timeout: float) -> None:
        self._admission = runtime.admission
        self._max_body_bytes = runtime.settings.max_body_bytes
        self._lines = lines
        self._decide = decide
        self._timeout = timeout
        self._coming: _PartialImage | None = None
        self._held: list[_PartialImage | _FailedImage] = []
        self.ignored = 0

    @property
    def time_left(self) -> float:
        """Seconds that the next bytes may take; an incomplete image holds a permit, so its own timeout applies."""
        if self._coming is None:
            return self._timeout
        return self._coming.began + self._timeout - time.monotonic()

    async def take(self, event: UploadEvent) -> None:
        """Process the next event.

        Raises:
            Draining: the service is leaving.
        """
        match event:
            case ImageStart():
                await self._begin(event)
            case RefusedImage():
                await self._reserve_line(event)
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
        """Decide the complete images, and release the permit of an incomplete one."""
        if self._coming is not None:
            self._coming.permit.leave()
            self._coming = None
        held, self._held = self._held, []
        for each in held:
            self._put(each)

    async def _begin(self, begin: ImageStart) -> None:
        await self._reserve_line(begin)
        # An unknown size counts as the maximum: two uploads that wait for more while holding some would deadlock.
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

    async def _reserve_line(self, event: ImageStart | RefusedImage) -> None:
        """Reserve room for a line. Held images reserve it when they are settled; earlier would deadlock."""
        if not event.is_held:
            await self._lines.reserve()

    async def _settle(self, settle: SettleHeld) -> None:
        held, self._held = self._held, []
        for each in held:
            if settle.is_judged:
                await self._lines.reserve()
                self._put(each)
            else:
                self.ignored += 1
                if isinstance(each, _PartialImage):
                    each.permit.leave()

    def _put(self, image: _PartialImage | _FailedImage) -> None:
        if isinstance(image, _PartialImage):
            self._lines.put(self._decide(image.identity, image.permit, Payload(image.body)))
        else:
            line = asyncio.get_running_loop().create_future()
            line.set_result(error_line(image.error, image.identity))
            self._lines.put(line)


def error_line(
    error: ServiceError, identity: str | None, *, seconds: float = 0.0, stages: Mapping[str, float] | None = None
) -> Line:
    """Return the line of an image without a decision."""
    body = {"id": identity, "error": {"code": error.code, "detail": error.detail}}
    return Line(body, error.status, seconds, stages or {})


def _identity(name: str) -> str | None:
    try:
        return _IDENTITY.validate_python(name)
    except ValidationError:
        return None
