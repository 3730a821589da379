"""Events of an upload parser: images one after the other, each in as many pieces as arrived."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class ImageStart:
    """An image starts; `size` in bytes, or None if unknown.

    A held image waits, once complete, for `SettleHeld`, which precedes the next image that is not held.
    """

    name: str
    size: int | None
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class ImageEnd:
    """The current image is complete."""


@dataclass(frozen=True, slots=True)
class SettleHeld:
    """Held images are decided, or else ignored."""

    is_judged: bool


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """An image that cannot be decided."""

    name: str
    error: ServiceError
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is not an image, or accompanies one."""


UploadEvent = ImageStart | bytes | memoryview | ImageEnd | SettleHeld | RefusedImage | IgnoredFile


class UploadParser(Protocol):
    """Parses the bytes of an upload incrementally, without buffering images."""

    def feed(self, data: bytes) -> Iterator[UploadEvent]:
        """Yield the events in `data`; the iterator must be exhausted before the next call.

        Raises:
            MalformedRequest: after the events before the error; the parser is then unusable.
        """
        ...

    def close(self) -> None:
        """End the input.

        Raises:
            MalformedRequest: the upload is incomplete.
        """
        ...
