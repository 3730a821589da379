"""Check the headers that say where a request ends, where the parser is more lenient than RFC 9112 (section 6)."""

import re
from collections.abc import Iterable

import httptools

from service.errors import ExpectationFailed, MalformedRequest

HEAD_END = b"\r\n\r\n"

# As many digits as any sane size has: int() refuses 4,300 and more.
_LENGTH = re.compile(rb"[ \t]*([0-9]{1,15})[ \t]*")
_VERSIONS = ("1.1", "1.0")


def check_framing(headers: Iterable[tuple[bytes, bytes]], *, version: str) -> int | None:
    """Return the announced number of bytes, 0 without a body, or None for a body in chunks. Names are lower-case.

    The parser refuses two lengths, a length beside chunks, and codings that do not end in `chunked`.

    Raises:
        MalformedRequest: another server in between could see another end of this request.
        ExpectationFailed: the caller waits for something that never comes.
    """
    length: int | None = 0
    if version not in _VERSIONS:
        raise MalformedRequest(f"HTTP/{version} is not supported: use HTTP/1.1")
    for name, value in headers:
        if name == b"content-length":
            length = _read_length(value)
        elif name == b"transfer-encoding":
            _check_coding(value, version)
            length = None
        elif name == b"expect" and value.strip().lower() != b"100-continue":
            raise ExpectationFailed("the Expect header may hold 100-continue alone: leave it out")
    return length


def may_be_request(data: bytes, start: int, max_header_bytes: int) -> bool:
    """Return False where bytes behind a request cannot begin another one: its answer is then the connection's last."""
    end = data.find(HEAD_END, start, start + max_header_bytes)
    if end < 0 and len(data) - start >= max_header_bytes:
        return False
    try:
        httptools.HttpRequestParser(object()).feed_data(data[start:] if end < 0 else data[start : end + len(HEAD_END)])
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return True


def _read_length(value: bytes) -> int:
    if not (found := _LENGTH.fullmatch(value)):
        raise MalformedRequest("Content-Length must be a number of 1 to 15 digits")
    return int(found[1])


def _check_coding(value: bytes, version: str) -> None:
    if value.strip().lower() != b"chunked":
        raise MalformedRequest(
            "Transfer-Encoding may be chunked alone: send the body as it is, in chunks or with its length"
        )
    if version != "1.1":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding: use HTTP/1.1, or send Content-Length")
