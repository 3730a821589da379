"""`multipart/form-data` pushed in pieces of any size: every file part is an image."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import parse_options_header

from service.errors import MalformedRequest
from service.streams.parts import Begin, End, Event

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class FormParser:
    """The files of a form. A field that is no file is refused: it would be taken to say something, and says nothing.

    A file is complete once the boundary that follows it is.

    Args:
        boundary: as the Content-Type names it.

    Raises:
        MalformedRequest: it is missing or too long.
    """

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise MalformedRequest("the Content-Type multipart/form-data names no boundary")
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise MalformedRequest(str(error)) from error
        self._events: list[Event] = []
        self._field = bytearray()
        self._value = bytearray()
        self._disposition: dict[bytes, bytes] = {}
        self._place = "before its first part"
        self._is_complete = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """See `Parser`."""
        fault: MalformedRequest | None = None
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            fault = MalformedRequest(f"the form is malformed {self._place}: {error}")
        except MalformedRequest as error:
            fault = error
        events, self._events = self._events, []
        yield from events
        if fault is not None:
            raise fault

    def close(self) -> None:
        """See `Parser`."""
        if not self._is_complete:
            raise MalformedRequest(f"the form ends {self._place}, without its closing boundary")

    def _on_part_begin(self) -> None:
        self._disposition = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(bytes(self._value))
        self._field.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        name = self._disposition.get(b"filename")
        if name is None:
            field = _text(self._disposition.get(b"name", b""))
            raise MalformedRequest(
                f"the part {field[:128]!r} is no file: what holds for all images goes into the query"
            )
        self._place = f"in or after {_text(name)[:128]!r}"
        self._events.append(Begin(_text(name), None))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        self._events.append(End())

    def _on_end(self) -> None:
        self._is_complete = True


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
