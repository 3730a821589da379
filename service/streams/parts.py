"""What a parser of an upload makes of its bytes: images, one after the other, each in as many pieces as it came."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Begin:
    """An image begins; `size` is its bytes, or None where only its end will tell."""

    name: str
    size: int | None


@dataclass(frozen=True, slots=True)
class End:
    """The image that began is complete."""


Event = Begin | bytes | memoryview | End


class Parser(Protocol):
    """Takes the bytes of an upload as they come, and keeps none of an image."""

    def feed(self, data: bytes) -> Iterator[Event]:
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
