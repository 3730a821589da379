"""Parse `multipart/form-data` incrementally: every file part is an image."""

from collections.abc import Iterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import parse_options_header

from common.webdataset import distinct_path
from service.api.batch.upload_events import ImageEnd, ImageStart, RefusedImage, UploadEvent
from service.errors import MalformedRequest
from service.http.framing import parameter_names, repeated_parameter

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Charsets of RFC 8187.
_CHARSETS = ("utf-8", "us-ascii", "iso-8859-1")

_DISPOSITION, _TYPE, _TRANSFER = b"content-disposition", b"content-type", b"content-transfer-encoding"
_ENCODING = b"content-encoding"
_TITLES = {
    _DISPOSITION: "Content-Disposition",
    _TYPE: "Content-Type",
    _TRANSFER: "Content-Transfer-Encoding",
    _ENCODING: "Content-Encoding",
}
"""The headers of a part that are read."""

_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4_224  # A file name of 4,096 bytes, as in a tar, and the rest of its header.
_MAX_PARAMETERS = 255  # Parsing takes the square of their number; no name of a file has more semicolons.
_SHOWN_BOUNDARY = 80
_NESTED = "nested forms are not supported: send each image as a part of its own"


class FormParser:
    """The files of a form: parts with a file name, or with the Content-Type of an image.

    A field that is not a file is refused: ignoring it would hide a misplaced parameter.

    A file is complete once the boundary that follows it is. Writers that close the form after each file, or leave out
    the line end before a boundary, would lose images in silence: the form then ends in an error.

    Args:
        boundary: from the Content-Type.

    Raises:
        MalformedRequest: the boundary is missing or too long.
    """

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise MalformedRequest(
                "the Content-Type multipart/form-data has no boundary: let the HTTP library that writes the form set it"
            )
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
            self._parser = MultipartParser(
                boundary, callbacks, max_header_count=_MAX_HEADERS, max_header_size=_MAX_HEADER_BYTES
            )
        except FormParserError as error:
            raise MalformedRequest(str(error)) from error
        self._events: list[UploadEvent] = []
        self._field = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._repeated: bytes | None = None
        self._boundary = boundary
        self._is_refused = False
        self._place = "before its first part"
        self._is_complete = False
        self._parts = 0
        self._lines = _LineCounter(b"--" + boundary + b"\r\n")

    def feed(self, data: bytes) -> Iterator[UploadEvent]:
        """See `UploadParser`."""
        fault: MalformedRequest | None = None
        self._lines.count(data)
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            fault = self._describe(error)
        except MalformedRequest as error:
            fault = error
        events, self._events = self._events, []
        yield from events
        if fault is not None:
            raise fault

    def close(self) -> None:
        """See `UploadParser`."""
        if self._lines.number > self._parts:
            raise MalformedRequest(
                "a boundary in the form does not begin a part, so images are missing: each one stands on its own line, "
                "after CR LF, and only the last one ends in '--'"
            )
        if not self._is_complete:
            raise MalformedRequest(
                f"the form ends {self._place}, without its closing boundary on a line of its own: send the rest too"
            )

    def _describe(self, error: MultipartParseError) -> MalformedRequest:
        if self._parts:
            return MalformedRequest(
                f"the form is malformed {self._place}: {error}; a part has at most {_MAX_HEADERS} headers, each a line "
                f"of at most {_MAX_HEADER_BYTES:,} bytes that ends in CR LF"
            )
        line = f"--{_text(self._boundary[:_SHOWN_BOUNDARY])}"
        return MalformedRequest(
            f"the form is malformed: it must begin with {line!r}, the boundary of its Content-Type, and CR LF"
        )

    def _on_part_begin(self) -> None:
        self._parts += 1
        self._headers = {}
        self._repeated = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        name, value = bytes(self._field).lower(), bytes(self._value)
        if self._headers.setdefault(name, value) != value and name in _TITLES:
            self._repeated = name
        self._field.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        ambiguity = self._ambiguity()
        name = self._name() if ambiguity is None else ""
        self._place = f"in or after {name[:128]!r}"
        fault = ambiguity or self._fault()
        self._is_refused = fault is not None
        self._events.append(ImageStart(name, None) if fault is None else RefusedImage(name, fault))

    def _ambiguity(self) -> MalformedRequest | None:
        """Return the error of a part with two values where one is read; others may read the other one."""
        if self._repeated is not None:
            return MalformedRequest(f"the part has two values of {_TITLES[self._repeated]}: send one")
        if (name := repeated_parameter(self._headers.get(_DISPOSITION, b""))) is not None:
            return MalformedRequest(f"the Content-Disposition of the part has {name[:40]!r} twice: send it once")
        return None

    def _name(self) -> str:
        """Return the file's name; empty if it is missing or unreadable.

        Raises:
            MalformedRequest: the part is not a file.
        """
        disposition = self._headers.get(_DISPOSITION, b"")
        if disposition.count(b";") > _MAX_PARAMETERS:
            raise MalformedRequest(
                f"a Content-Disposition has more than {_MAX_PARAMETERS} parameters: name and filename are enough"
            )
        if names := _file_names(disposition):
            # RFC 6266 prefers filename*: a plain name beside it approximates it in ASCII, or .NET's in an encoded word.
            return distinct_path(names[-1] or names[0])
        if self._lower(_TYPE).startswith((b"image/", b"application/octet-stream")):
            return ""
        if self._is_nested():
            raise MalformedRequest(_NESTED)
        field = _text(parse_options_header(disposition)[1].get(b"name", b""))
        raise MalformedRequest(
            f"the part {field[:128]!r} is not a file: put parameters into the query; "
            "a file has a filename or the Content-Type image/..."
        )

    def _fault(self) -> MalformedRequest | None:
        """Return the error of a part whose headers exclude an image."""
        transfer, encoding = (self._lower(name) for name in (_TRANSFER, _ENCODING))
        if transfer not in (b"", b"binary", b"8bit", b"7bit"):
            text = f"the Content-Transfer-Encoding {_text(transfer)[:40]!r} is not supported: send raw bytes"
            return MalformedRequest(text)
        if encoding not in (b"", b"identity"):
            text = (
                f"the Content-Encoding {_text(encoding)[:40]!r} of a part is not supported: send the file uncompressed"
            )
            return MalformedRequest(text)
        return MalformedRequest(_NESTED) if self._is_nested() else None

    def _is_nested(self) -> bool:
        # Without a boundary it is a wrong type of a file, as KNIME and callers of Python's requests give it.
        kind = self._lower(_TYPE)
        return kind.startswith(b"multipart/") and b"boundary" in kind

    def _lower(self, header: bytes) -> bytes:
        return self._headers.get(header, b"").strip().lower()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_refused:
            self._events.append(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if not self._is_refused:
            self._events.append(ImageEnd())

    def _on_end(self) -> None:
        self._is_complete = True


class _LineCounter:
    """Counts boundaries that would begin a part, wherever they stand."""

    def __init__(self, line: bytes) -> None:
        self.number = 0
        self._line = line
        self._rest = b""

    def count(self, data: bytes) -> None:
        """Count those that end in `data`, the next piece of the form."""
        data = self._rest + data
        self.number += data.count(self._line)
        self._rest = data[1 - len(self._line) :]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _file_names(disposition: bytes) -> list[str]:
    """Return the plain `filename` and, behind it, `filename*`, which RFC 7578 forbids and many clients send.

    An unreadable name is "". Names keep their folders, which `parse_options_header` cuts from `C:\\faces\\1.png`.
    """
    if not any(name.partition("*")[0] == "filename" for name in parameter_names(disposition)):
        return []
    message = Message()
    try:
        message["Content-Disposition"] = disposition.decode("latin-1")
        # An extended name comes behind a plain one, wherever that stands in the header.
        parameters = message.get_params([], "Content-Disposition")
    except (TypeError, ValueError):  # Such as `filename*` beside `filename*0`, which have no order.
        return [""]
    return [_decode(value) for key, value in parameters if key.lower() == "filename"] or [""]


def _decode(name: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(name, str):
        return name.encode("latin-1").decode("utf-8", "surrogateescape")
    readable = (name[0] or "us-ascii").lower() in _CHARSETS
    return collapse_rfc2231_value(name, "surrogateescape") if readable else ""
