"""What a parser of an upload makes of its bytes: images, one after the other, each in as many pieces as it came."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class ImageStart:
    """An image begins; `size` is its bytes, or None where only its end will tell.

    One that is held once it is complete waits for `SettleHeld`, which comes before the next image that is not held.
    """

    name: str
    size: int | None
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class ImageEnd:
    """The image that began is complete."""


@dataclass(frozen=True, slots=True)
class SettleHeld:
    """The images that are held are judged, or else ignored."""

    is_judged: bool


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """An image that is there and cannot be judged."""

    name: str
    error: ServiceError
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is no image, or accompanies one."""


UploadEvent = ImageStart | bytes | memoryview | ImageEnd | SettleHeld | RefusedImage | IgnoredFile


class UploadParser(Protocol):
    """Takes the bytes of an upload as they come, and keeps none of an image."""

    def feed(self, data: bytes) -> Iterator[UploadEvent]:
        """The events in `data`; to be exhausted before more is fed.

        Raises:
            MalformedRequest: after the events before it; nothing may be fed any more.
        """
        ...

    def close(self) -> None:
        """Say that there is no more.

        Raises:
            MalformedRequest: it ended in the middle.
        """
        ...
