"""Tar archives pushed in pieces of any size: ustar, GNU long names, pax; the standard library only pulls."""

import sys
import tarfile
from collections.abc import Callable, Iterator

from gate.header import IMAGE_ENDINGS
from service.errors import MalformedRequest
from service.streams.parts import Begin, End, Event

_BLOCK = tarfile.BLOCKSIZE
_EXTENSION_LIMIT = 2**16
"""Most bytes of a long name or of pax records: they are kept whole."""

_LONG_NAME = (tarfile.GNUTYPE_LONGNAME,)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class TarParser:
    """The images of a tar archive: the files whose names end in one of `IMAGE_ENDINGS`. Everything else is skipped.

    Global pax headers are skipped too: a path or a size for all members would make no archive.
    """

    def __init__(self) -> None:
        self._step: Callable[[memoryview], Iterator[Event]] = self._header
        self._need = _BLOCK
        self._kept = bytearray()
        self._extended: dict[str, str] = {}
        self._extension = b""
        self._padding = 0
        self._place = "before its first member"

    def feed(self, data: bytes) -> Iterator[Event]:
        """See `Parser`."""
        rest = memoryview(data)
        while rest:
            piece, rest = rest[: self._need], rest[self._need :]
            self._need -= len(piece)
            yield from self._step(piece)

    def close(self) -> None:
        """See `Parser`."""
        if self._step != self._trailer:
            raise MalformedRequest(f"the archive ends {self._place}, without the two empty blocks of its end")

    def _expect(self, step: Callable[[memoryview], Iterator[Event]], need: int) -> None:
        self._step, self._need = step, need

    def _header(self, piece: memoryview) -> Iterator[Event]:
        if (block := self._complete(piece)) is None:
            return
        if block.count(0) == _BLOCK and not self._extended:
            self._expect(self._trailer, sys.maxsize)
        else:
            yield from self._begin(self._read_header(block), sparse_goes_on=bool(block[482]))

    def _begin(self, member: tarfile.TarInfo, *, sparse_goes_on: bool) -> Iterator[Event]:
        if member.type in _LONG_NAME + _PAX:
            self._begin_extension(member)
            return
        if member.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            self._skip(_padded(member.size))
            return
        extended, self._extended = self._extended, {}
        name = extended.get("path", member.name)
        size = 0 if member.type in _WITHOUT_CONTENT else self._size(extended.get("size"), member.size)
        self._place = f"in or after {name[:128]!r}"
        if member.type == tarfile.GNUTYPE_SPARSE and sparse_goes_on:
            self._padding = _padded(size)
            self._expect(self._sparse_map, _BLOCK)
        elif _is_image(member, name, extended):
            yield Begin(name, size)
            yield from self._begin_content(size)
        else:
            self._skip(_padded(size))

    def _begin_extension(self, member: tarfile.TarInfo) -> None:
        if not 0 < member.size <= _EXTENSION_LIMIT:
            raise MalformedRequest(f"an extended header of the archive has {member.size:,} bytes")
        self._extension = member.type
        self._padding = member.size
        self._expect(self._extended_header, _padded(member.size))

    def _extended_header(self, piece: memoryview) -> Iterator[Event]:
        if (block := self._complete(piece)) is not None:
            content = block[: self._padding]
            if self._extension in _LONG_NAME:
                self._extended["path"] = _text(content.partition(b"\0")[0])
            else:
                self._extended |= _pax_records(content)
            self._expect(self._header, _BLOCK)
        yield from ()

    def _begin_content(self, size: int) -> Iterator[Event]:
        self._padding = _padded(size) - size
        self._expect(self._content, size)
        if not size:
            yield from self._content(memoryview(b""))

    def _content(self, piece: memoryview) -> Iterator[Event]:
        if piece:
            yield piece
        if not self._need:
            yield End()
            self._skip(self._padding)

    def _sparse_map(self, piece: memoryview) -> Iterator[Event]:
        if (block := self._complete(piece)) is not None:
            if block[504]:
                self._expect(self._sparse_map, _BLOCK)
            else:
                self._skip(self._padding)
        yield from ()

    def _skip(self, size: int) -> None:
        if size:
            self._expect(self._skipped, size)
        else:
            self._expect(self._header, _BLOCK)

    def _skipped(self, _: memoryview) -> Iterator[Event]:
        if not self._need:
            self._expect(self._header, _BLOCK)
        yield from ()

    def _trailer(self, piece: memoryview) -> Iterator[Event]:
        if any(piece):
            raise MalformedRequest("something follows the end of the archive: send one archive a request")
        yield from ()

    def _complete(self, piece: memoryview) -> bytes | None:
        """What was waited for, once all of it is there."""
        self._kept += piece
        if self._need:
            return None
        whole = bytes(self._kept)
        self._kept.clear()
        return whole

    def _read_header(self, block: bytes) -> tarfile.TarInfo:
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except (tarfile.TarError, ValueError) as error:
            hint = ": gzip is not accepted" if block.startswith(b"\x1f\x8b") else ""
            raise MalformedRequest(f"there is no tar header where one must be, {self._place}{hint}") from error
        self._size(None, member.size)
        return member

    def _size(self, extended: str | None, size: int) -> int:
        """The size by the extended header, or else by the plain one; base-256 numbers can be negative."""
        if extended is not None:
            if not (extended.isascii() and extended.isdecimal() and len(extended) < 20):
                raise MalformedRequest(f"the archive has a member of size {extended[:40]!r}")
            size = int(extended)
        if size < 0:
            raise MalformedRequest(f"the archive has a member of size {size}")
        return size


def _is_image(member: tarfile.TarInfo, name: str, extended: dict[str, str]) -> bool:
    is_whole_file = member.type in _FILES and not any(key.startswith("GNU.sparse.") for key in extended)
    return is_whole_file and name.lower().endswith(IMAGE_ENDINGS)


def _pax_records(data: bytes) -> dict[str, str]:
    """The records `b"<length> <key>=<value>\\n"`, whose length counts all of itself."""
    records: dict[str, str] = {}
    start = 0
    while start < len(data) and data[start]:
        digits = data[start : start + 20].partition(b" ")[0]
        end = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = data[start + len(digits) + 1 : end].partition(b"=")
        if not (key and equals and value.endswith(b"\n") and end <= len(data)):
            raise MalformedRequest("an extended header of the archive is damaged")
        records[_text(key)] = _text(value[:-1])
        start = end
    return records


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
