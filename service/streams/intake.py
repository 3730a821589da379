"""From the events of a parser to images that are complete, each with a place, in the order in which they came."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.admission import Place
from service.errors import BodyTooLarge, MalformedRequest, ServiceError
from service.identity import Identity
from service.pipeline import Pipeline
from service.streams.ordered import Ordered
from service.streams.parts import Begin, End, Event

Line = dict[str, Any]
"""One line of the answer."""

Judge = Callable[[str, Place, bytearray], "asyncio.Future[Line]"]

_IDENTITY = TypeAdapter(Identity)


@dataclass(slots=True)
class _Coming:
    identity: str
    place: Place
    body: bytearray = field(default_factory=bytearray)
    began: float = field(default_factory=time.monotonic)


class Intake:
    """Takes room and a place for an image before its first byte is kept, so that the upload waits where there is none.

    Args:
        pipeline: whose places they are.
        lines: take a line of each image.
        judge: is given each complete image, whose place it gives back.
        patience: seconds in which a byte has to come, and an image to be complete.
    """

    def __init__(self, pipeline: Pipeline, lines: Ordered[Line], *, judge: Judge, patience: float) -> None:
        self._admission = pipeline.admission
        self._max_body_bytes = pipeline.settings.max_body_bytes
        self._lines = lines
        self._judge = judge
        self._patience = patience
        self._coming: _Coming | None = None

    @property
    def patience(self) -> float:
        """Seconds that the next bytes may take to come. An image in the middle holds a place: it may not dawdle."""
        if self._coming is None:
            return self._patience
        return self._coming.began + self._patience - time.monotonic()

    async def take(self, event: Event) -> None:
        """Take the next event.

        Raises:
            Draining: the service is leaving.
        """
        if isinstance(event, Begin):
            await self._begin(event)
        elif isinstance(event, End):
            self._complete()
        elif self._coming is not None:
            self._keep(self._coming, event)

    def close(self) -> None:
        """Give back what an image has that will not be complete."""
        if self._coming is not None:
            self._coming.place.leave()
            self._coming = None

    async def _begin(self, begin: Begin) -> None:
        await self._lines.room()
        if (identity := _identity(begin.name)) is None:
            text = f"the name {begin.name[:40]!r} has control characters, or not 1 to 128 characters"
            self._refuse(None, MalformedRequest(text))
            return
        try:
            # Without a size as much as an image may have: two that wait for more while they hold some wait for ever.
            place = await self._admission.wait(self._max_body_bytes if begin.size is None else begin.size)
        except BodyTooLarge as error:
            self._refuse(identity, error)
        else:
            self._coming = _Coming(identity, place)

    def _keep(self, coming: _Coming, piece: bytes | memoryview) -> None:
        try:
            coming.place.receive(len(piece))
        except BodyTooLarge as error:
            self.close()
            self._refuse(coming.identity, error)
        else:
            coming.body += piece

    def _complete(self) -> None:
        if self._coming is not None:
            coming, self._coming = self._coming, None
            coming.place.keep(len(coming.body))
            self._lines.put(self._judge(coming.identity, coming.place, coming.body))

    def _refuse(self, identity: str | None, error: ServiceError) -> None:
        line = asyncio.get_running_loop().create_future()
        line.set_result(error_line(error, identity))
        self._lines.put(line)


def error_line(error: ServiceError, identity: str | None) -> Line:
    """What is answered for an image that was not judged."""
    return {"id": identity, "error": {"code": error.code, "detail": error.detail}}


def _identity(name: str) -> str | None:
    try:
        return _IDENTITY.validate_python(name)
    except ValidationError:
        return None
