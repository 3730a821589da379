"""Invariant of both framings of an upload: the same images and verdict for every split into chunks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from service.api.batch.upload_events import (
    IgnoredFile,
    ImageEnd,
    ImageStart,
    RefusedImage,
    SettleHeld,
    UploadEvent,
    UploadParser,
)
from service.errors import ServiceError

Image = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class KnownUpload:
    """A form or an archive, its images in order, and whether it must be refused after them."""

    data: bytes = field(repr=False)
    images: Sequence[Image]
    is_refused: bool


def images_of(parser: UploadParser, pieces: Iterable[bytes], *, limit: int) -> tuple[list[Image], str | None]:
    """The complete images, and the code of the error that ended them. Adapts the targets to `service.api.batch`."""
    reader = _Reader(limit)
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                reader.take(event)
        parser.close()
    except ServiceError as error:
        return reader.images, error.code
    assert reader.is_between, "it ends well within an image"
    return reader.images, None


def cut(data: bytes, step: int) -> Iterable[bytes]:
    """Pieces of `step` bytes."""
    edges = [*range(0, len(data), step), len(data)]
    return (data[start:end] for start, end in pairwise(edges))


class _Reader:
    """Puts images together and holds the order of the events."""

    def __init__(self, limit: int) -> None:
        self.images: list[Image] = []
        self._limit = limit
        self._name: str | None = None
        self._size: int | None = None
        self._content = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether no image has begun that is not complete."""
        return self._name is None

    def take(self, event: UploadEvent) -> None:
        """Process one event; AssertionError if it is out of order."""
        if isinstance(event, ImageStart):
            assert self.is_between, "an image begins within another"
            self._name, self._size, self._content = event.name, event.size, bytearray()
        elif isinstance(event, ImageEnd):
            self._end()
        elif isinstance(event, SettleHeld | RefusedImage | IgnoredFile):
            assert self.is_between, f"{event} within an image"
        else:
            assert not self.is_between, "content before an image begins"
            self._content += event

    def _end(self) -> None:
        assert self._name is not None, "an image ends that has not begun"
        if self._size is not None and self._size <= self._limit:
            assert len(self._content) == self._size, "an image has not the size that was announced"
        self.images.append((self._name, bytes(self._content)))
        self._name = None
