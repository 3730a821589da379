"""The bytes of a tar as they are read from its store, compressed or not."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

import pyarrow as pa

from bulk.sources.sample import unreadable
from common.tar_headers import TarError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

DAMAGES = (TarError, EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What reading a damaged tar raises. Faults of its store are rows' errors before they come here."""

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_PIECE_BYTES = 2**20
_XZ_BYTES = 2**27
"""Most memory that xz may take: its strongest setting takes 65 MiB."""


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a tar in pieces; its first bytes say how it is compressed.

    Raises:
        UnreadableFile: the store failed.
        Exception: whatever the decompressor raises of damaged bytes.
    """
    stored = io.BufferedReader(_Stored(file), _PIECE_BYTES)
    head = stored.peek(len(_XZ))
    if head.startswith(_GZIP):
        return _all(gzip.GzipFile(fileobj=stored))
    if head.startswith(_BZIP2):
        return _all(bz2.BZ2File(stored))
    if head.startswith(_XZ):
        return _decode_xz(stored)
    if head.startswith(_ZSTD):
        return _all(pa.CompressedInputStream(pa.PythonFile(stored, "r"), "zstd"))
    return _all(stored)


class _Stored(io.RawIOBase):
    """Tells the faults of a store from those of what is stored."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # Stores' clients raise what they like.
            raise unreadable("the tar cannot be read from here on", error) from error
        buffer[: len(data)] = data
        return len(data)


def _all(file: "IO[bytes] | pa.NativeFile") -> Iterator[bytes]:
    return iter(partial(file.read, _PIECE_BYTES), b"")


def _decode_xz(stored: IO[bytes]) -> Iterator[bytes]:
    """Decode one stream after the other, within a bound on memory that `lzma.LZMAFile` does not take."""
    decoder = lzma.LZMADecompressor(memlimit=_XZ_BYTES)
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
            decoder = lzma.LZMADecompressor(memlimit=_XZ_BYTES)
    if not decoder.eof:
        raise EOFError("the compressed data ends too early")
