"""Content-Encoding of requests and Accept-Encoding of responses: gzip and deflate."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator

from service.accept import preferred
from service.errors import MalformedRequest
from service.inference.admission import Permit

MINIMUM_BYTES = 1024
"""Smaller responses are sent uncompressed: they fit one packet either way."""

_PIECE = 64 * 1024
_STEP = 256 * 1024
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_FORMATS = {"gzip": "gzip", "deflate": "deflate (zlib's format; raw deflate lacks its header)"}
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3.


async def decompress(body: bytes | bytearray, encoding: str, permit: Permit) -> bytes | bytearray:
    """Decompress a body sent with Content-Encoding `encoding`.

    What comes out is counted in `permit` step by step, before it is kept, and others run in between: a bomb ends at the
    body's limit.

    Raises:
        MalformedRequest: the encoding is unknown, or the body is corrupt.
        BodyTooLarge, Overloaded: the decompressed bytes exceed a limit.
    """
    encoding = encoding.strip().lower()
    encoding = _ALIASES.get(encoding, encoding)
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOWS:
        raise MalformedRequest("Content-Encoding must be gzip, deflate or identity")
    try:
        return await _inflate(body, zlib.decompressobj(_WINDOWS[encoding]), permit)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not valid {_FORMATS[encoding]}: {error}") from error


def choose_encoding(accepted: str | None) -> str | None:
    """Return the encoding that Accept-Encoding prefers; None for no compression."""
    return preferred(accepted or "", _WINDOWS)


def compress(body: bytes, encoding: str) -> bytes:
    """Compress with an encoding from `choose_encoding`."""
    return gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)


async def _inflate(body: bytes | bytearray, inflater: "zlib._Decompress", permit: Permit) -> bytearray:
    inflated = bytearray()
    whole = memoryview(body)
    for start in range(0, len(whole), _PIECE):
        if inflater.eof:
            raise MalformedRequest("the compressed body continues after its end")
        for part in _parts(inflater, whole[start : start + _PIECE]):
            permit.reserve(len(part))
            inflated += part
            await asyncio.sleep(0)
    if not inflater.eof or inflater.unused_data:
        raise MalformedRequest("the compressed body is truncated, or continues after its end")
    return inflated


def _parts(inflater: "zlib._Decompress", piece: memoryview | bytes) -> Iterator[bytes]:
    full = True
    while full and not inflater.eof:
        part = inflater.decompress(piece, _STEP)
        # The unconsumed tail is copied each time, so pieces are small.
        piece = inflater.unconsumed_tail
        full = len(part) == _STEP
        yield part
