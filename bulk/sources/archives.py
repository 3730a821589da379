"""Read the bytes of a tar from its store and decompress them."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import pyarrow as pa

from bulk.sources.sample import unreadable
from common.tar_headers import TarError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

DAMAGES = (TarError, EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""The exceptions of damaged tars. Errors of the store have become `UnreadableFile` before."""

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_PIECE_BYTES = 2**20
_ARROW_BYTES = 2**16
"""Arrow has no `read1`, and drops at most one piece before damage."""

_XZ_BYTES = 2**27
"""Memory limit of xz, whose strongest preset needs 65 MiB."""


_TOO_WIDE = ("too much memory", "Memory usage limit")
"""Texts in the errors of zstd, which takes windows of up to 128 MiB, and of xz."""


def reason(error: Exception) -> str:
    """Return the text of one of `DAMAGES`, with the cure of archives that decompress with much memory only."""
    text = str(error)
    if any(part in text for part in _TOO_WIDE):
        return f"{text}: compress it with a window of at most 64 MiB, without --long of zstd or a larger dict of xz"
    return text


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a tar in pieces; its magic bytes select the decompressor.

    Raises:
        UnreadableFile: the store failed.
        Exception: one of `DAMAGES`; the data is damaged.
    """
    stored = io.BufferedReader(_Stored(file), _PIECE_BYTES)
    head = stored.peek(len(_XZ))
    if head.startswith(_GZIP):
        return _all(gzip.GzipFile(fileobj=stored).read1)
    if head.startswith(_BZIP2):
        return _decode(stored, bz2.BZ2Decompressor)
    if head.startswith(_XZ):
        return _decode(stored, partial(lzma.LZMADecompressor, memlimit=_XZ_BYTES))
    if head.startswith(_ZSTD) or _is_skippable(head):
        return _all(pa.CompressedInputStream(pa.PythonFile(stored, "r"), "zstd").read, _ARROW_BYTES)
    return _all(stored.read1)


class _Stored(io.RawIOBase):
    """Wraps the errors of a store, to tell them apart from damaged data."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # Clients of stores share no base exception.
            raise unreadable("the tar cannot be read from here on", error) from error
        buffer[: len(data)] = data
        return len(data)


def _is_skippable(head: bytes) -> bool:
    """Return whether a skippable frame of zstd comes first, as in every file of pzstd."""
    return head[1:4] == _ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50


def _all(read: Callable[[int], bytes], size: int = _PIECE_BYTES) -> Iterator[bytes]:
    """Yield what `read` returns. `read1` keeps the bytes before damage, which `read` drops with its error."""
    return iter(partial(read, size), b"")


def _decode(stored: IO[bytes], make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Iterator[bytes]:
    """Decode concatenated streams of xz or bzip2.

    `lzma.LZMAFile` has no memory limit, and `bz2.BZ2File` ignores a stream after the first one if it is damaged.
    """
    decoder = make()
    data = stored.read(_PIECE_BYTES)
    while data:
        while data or not decoder.needs_input:
            yield decoder.decompress(data, _PIECE_BYTES)
            data = b""
            if decoder.eof:
                break
        data = decoder.unused_data if decoder.eof else b""
        data = data or stored.read(_PIECE_BYTES)
        if decoder.eof and (data := data.lstrip(b"\0")):
            decoder = make()
    if not decoder.eof:
        raise EOFError("the compressed data ends too early")
