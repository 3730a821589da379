"""Check message framing (RFC 9112, section 6) where the parser is too lenient; protects against request smuggling."""

import re
from collections.abc import Iterable, Iterator

import httptools
from starlette.datastructures import Headers

from service.errors import ExpectationFailed, MalformedRequest
from service.http.percent_encoding import is_utf8

HEAD_END = b"\r\n\r\n"

# Longer numbers are not plausible sizes, and int() refuses those of 4,300 digits and more.
_LENGTH = re.compile(rb"[ \t]*([0-9]{1,15})[ \t]*")
_VERSIONS = ("1.1", "1.0")
PROXY_HEADER = "it begins with a header of the PROXY protocol, which the load balancer must not send here"
_PROXY_STARTS = (b"PROXY ", b"\0\r\nQUIT\n")  # Of its two versions; the line ends before the second are left out.
_OTHER_PROTOCOLS = {
    b"\x16\x03": "it is TLS, use http:// or set LENSGATE_TLS_CERTIFICATE",
    b"SM\r\n": "it is HTTP/2, use HTTP/1.1; gRPC has a port of its own (LENSGATE_GRPC_PORT)",
    **dict.fromkeys(_PROXY_STARTS, PROXY_HEADER),
}
"""What the parser refuses of other protocols: it accepts the first line of HTTP/2, and line ends before a request."""

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def check_framing(headers: Iterable[tuple[bytes, bytes]], *, version: str) -> int | None:
    """Return Content-Length, 0 without a body, or None for a chunked body. Header names are lower-case.

    The parser itself refuses two lengths, a length of a chunked body, and codings that do not end in `chunked`.

    Raises:
        MalformedRequest: a proxy could find another end of this request.
        ExpectationFailed: the caller expects an unsupported interim answer.
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
            raise ExpectationFailed("the Expect header must be 100-continue: leave out other values")
    return length


def check_target(target: bytes) -> None:
    """Check the URL in the request line.

    Raises:
        MalformedRequest: routing would drop a part of it or alter an id.
    """
    if b"#" in target:
        # Everything behind it, such as `expected`, would be lost: the parser takes it for a fragment.
        raise MalformedRequest("the URL holds a '#': write it as %23")
    if not target.startswith(b"/") and target != b"*" and not _has_path(target):
        raise MalformedRequest("the URL has no path: send one such as /v1/decisions")
    if b"%" in target and not is_utf8(target.partition(b"?")[0]):
        raise _not_utf8()


def single_header(headers: Headers, name: str) -> str | None:
    """Return the value of a header; None without it.

    Raises:
        MalformedRequest: it has two values.
    """
    values = headers.getlist(name)
    if len(set(values)) > 1:
        raise MalformedRequest(f"{name} has two values: send one")
    return values[0] if values else None


def repeated_parameter(value: bytes) -> str | None:
    """Return the name of a parameter that a header such as Content-Disposition has twice; None if there is none."""
    seen: set[str] = set()
    for name in parameter_names(value):
        if name in seen:
            return name
        seen.add(name)
    return None


def parameter_names(value: bytes) -> Iterator[str]:
    """Iterate over the names of the parameters of a header, in lower case."""
    for parameter in _QUOTED.sub(b"", value).split(b";")[1:]:
        if name := parameter.partition(b"=")[0].strip(b" \t").lower():
            yield name.decode("latin-1")


def refused_by_parser(error: httptools.HttpParserError, start: bytes) -> MalformedRequest:
    """Return the answer to bytes that the parser refuses; `start` is the beginning of a head with them, or empty."""
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return _not_utf8()
    # The text of a failed callback names only the callback.
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
    if "Expected HTTP/" in reason:  # What the parser takes for the protocol is the rest of the URL.
        reason = ": write a space in the URL as %20, and HTTP/1.1 behind it"
    for magic, protocol in _OTHER_PROTOCOLS.items():
        if start.startswith(magic):
            reason = f": {protocol}"
    return MalformedRequest(f"the request is not HTTP/1.1{reason}")


def is_proxy_header(start: bytes) -> bool:
    """Return whether a connection begins with a header of the PROXY protocol."""
    return start.lstrip(b"\r\n").startswith(_PROXY_STARTS)


def may_be_request(data: bytes, start: int, max_header_bytes: int) -> bool:
    """Return False if the bytes behind a request cannot begin another one; its answer is then the last."""
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


def _has_path(target: bytes) -> bool:
    try:
        return httptools.parse_url(target).path is not None
    except httptools.HttpParserInvalidURLError:
        return False


def _not_utf8() -> MalformedRequest:
    return MalformedRequest("the URL must be percent-encoded UTF-8, such as caf%C3%A9: it holds other characters")


def _read_length(value: bytes) -> int:
    if not (match := _LENGTH.fullmatch(value)):
        raise MalformedRequest("Content-Length must be a number of 1 to 15 digits")
    return int(match[1])


def _check_coding(value: bytes, version: str) -> None:
    if value.strip().lower() != b"chunked":
        raise MalformedRequest(
            "Transfer-Encoding must be chunked: send the body uncompressed, chunked or with Content-Length"
        )
    if version != "1.1":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding: use HTTP/1.1, or send Content-Length")
