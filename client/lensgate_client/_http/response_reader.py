"""Read the raw body of a response up to a size limit."""

import re
from collections.abc import AsyncIterator, Iterator

import httpx

from lensgate_client._http.environment import describe_proxy
from lensgate_client._protocol.requests import GateResponse
from lensgate_client.errors import UnexpectedAnswer, quoted

_NOT_FOUND = 404
_TWO_VERSIONS = re.compile(r"(?P<given>/v[12])/v[12]/")
"""In a path if the URL of the gate ends with the version of the API, as other clients take it."""


class ResponseReader:
    """Collects the body of a response, up to a size limit.

    Args:
        response: an open response; its raw body is passed to `add` in chunks.
        max_bytes: size limit of the body.
        proxy: that of the environment. It sees requests without TLS and may answer them itself.

    Raises:
        UnexpectedAnswer: the headers do not belong to a response of a gate.
    """

    def __init__(self, response: httpx.Response, max_bytes: int, proxy: httpx.Proxy | None = None) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self._way = "" if proxy is None or response.url.scheme == "https" else f", {describe_proxy(proxy)}"
        self._body = bytearray()
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            # A few compressed bytes may expand to any size, and the request did not allow compression.
            self._max_bytes = 0
            self._reject(f"it is compressed with {quoted(encoding)}, which was not requested")
        length = response.headers.get("content-length", "")
        if len(length) > 12 or (length.isdecimal() and int(length) > max_bytes):
            self._reject_length()

    def add(self, chunk: bytes) -> bool:
        """Append a chunk of the body; return whether to read on."""
        room = self._max_bytes - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self._reject_length()
        return len(chunk) <= room

    def result(self) -> GateResponse:
        """Return the response; the body of an error may be truncated."""
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return GateResponse(self._response.status_code, headers, bytes(self._body), self._way, self._hint())

    def _hint(self) -> str:
        if self._response.status_code != _NOT_FOUND or not (match := _TWO_VERSIONS.search(self._response.url.path)):
            return ""
        return f"; pass the URL of the gate without {match['given']}, unless that is the path of a proxy"

    def _reject_length(self) -> None:
        self._reject(f"it is longer than {self._max_bytes:,} bytes")

    def _reject(self, reason: str) -> None:
        # The status of an error is sufficient without its body.
        status = self._response.status_code
        if status == 200:
            raise UnexpectedAnswer(f"not a response of a Lensgate ({reason}{self._way})", status=status)


def raw_chunks(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it was sent; httpx would decompress it without a limit."""
    # A custom transport may have read the body already.
    return iter((response.content,)) if response.is_stream_consumed else response.iter_raw()


async def araw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body as `raw_chunks` does, on an event loop."""
    if response.is_stream_consumed:
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk
