"""Incremental parser of HTTP/1.1 responses, reduced to the needs of the load generators."""

import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One final response; `retry_after` is in seconds."""

    status: int
    body: bytes
    closes: bool
    retry_after: int | None


class ResponseParser:
    """Collect received bytes, and return the final response once it is complete."""

    def __init__(self) -> None:
        self.may_continue = False
        """Whether 100 Continue was received."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> HttpResponse | None:
        """Process received bytes.

        Raises:
            ValueError: the bytes are not HTTP/1.1, or there is no Content-Length.
        """
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[: end + 2])
            status = _status(head)
            if status >= 200:
                return self._finish(status, head, end + 4)
            self.may_continue |= status == 100
            del self._buffer[: end + 4]
        return None

    def _finish(self, status: int, head: bytes, start: int) -> HttpResponse | None:
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError("the response has no Content-Length")
        stop = start + int(length[1])
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        retry = _RETRY.search(head)
        return HttpResponse(status, body, _CLOSE.search(head) is not None, int(retry[1]) if retry else None)


def _status(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 ") or not head[9:12].isdigit():
        raise ValueError("the response is not HTTP/1.1")
    return int(head[9:12])
