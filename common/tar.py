"""A push parser of tar archives with bounded memory.

`tarfile` of the standard library only pulls, and keeps every extended header.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from common.sparse import ContentMap, Island, OldMap, Sparse, islands_of
from common.tar_extended import EXTENDED, ExtendedHeaders
from common.tar_headers import BLOCK, Header, TarError, hint_at, read_header
from common.terminal import quoted

MAX_NAME_BYTES = 4096
"""Longest name of a member: the limit of Linux for paths."""

MAX_ZERO_BYTES = 2**20
"""Most zeros between and after archives, except those that fill a record: damaged disks leave more."""

# Volume labels, listings of incremental dumps, old GNU names, access lists of Solaris, attributes and inodes.
_METADATA = (b"V", b"D", b"N", b"A", b"E", b"I")
_FOLDER, _SPARSE, _REST, _REGULAR = b"5", b"S", b"M", (b"0", b"\0")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")

_ZEROS = memoryview(bytes(2**16))


class MemberKind(Enum):
    """The type of a member. Only files have content."""

    FILE = "a file"
    LINK = "a link"
    DEVICE = "a device or FIFO"
    REST = "the rest of a file that begins in another volume"


_KINDS = {
    b"1": MemberKind.LINK,
    b"2": MemberKind.LINK,
    b"3": MemberKind.DEVICE,
    b"4": MemberKind.DEVICE,
    b"6": MemberKind.DEVICE,
    _REST: MemberKind.REST,
}


@dataclass(frozen=True, slots=True)
class Member:
    """The start of a member. Bytes of its name that are not UTF-8 are surrogates, as in `os.fsdecode`."""

    name: str
    kind: MemberKind
    size: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The end of the current file. A file larger than the limit ends at once."""


TarEvent = Member | memoryview | End


@dataclass(slots=True)
class _Content:
    """The current file."""

    size: int
    islands: Iterator[Island]
    padding: int
    position: int = 0


_Step = Callable[[memoryview], Iterator[TarEvent]]


@dataclass(slots=True)
class _SparseMember:
    """A member with an incomplete sparse map."""

    name: str
    stored: int
    size: int | None = None
    old: OldMap | None = None
    content: ContentMap = field(default_factory=ContentMap)


class TarReader:
    """Reads members in order. Folders and metadata of archivers are skipped.

    Concatenated archives (`cat a.tar b.tar`) are read as one.

    Args:
        limit: size in bytes of the largest file whose content is read.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._step: _Step = self._header
        self._need = BLOCK
        self._buffer = bytearray()
        self._extended = ExtendedHeaders()
        self._head: Header | None = None
        self._content = _Content(0, iter(()), 0)
        self._started = _SparseMember("", 0)
        self._place = "before its first member"
        self._is_first = True
        self._is_ended = False
        self._length = 0  # From the archive's start to the end of the current block.
        self._zeros = 0
        self._hole = ""

    def feed(self, data: bytes | memoryview) -> Iterator[TarEvent]:
        """Yield the events in `data`; consume all of them before the next call.

        Raises:
            TarError: after the preceding events; the reader cannot be fed any further.
        """
        rest = memoryview(data)
        while rest:
            piece, rest = rest[: self._need], rest[self._need :]
            self._need -= len(piece)
            self._length += len(piece)
            yield from self._step(piece)

    def close(self) -> None:
        """End the input.

        Raises:
            TarError: the archive is incomplete.
        """
        if not self._is_ended:
            hint = hint_at(bytes(self._buffer)) if self._is_first else ""
            raise TarError(f"the archive ends {self._place}, without the two empty blocks of its end{hint}")
        if any(self._buffer):
            raise self._follows()
        self._end_zeros(self._length)
        if self._hole:
            raise TarError(
                f"more than {MAX_ZERO_BYTES:,} bytes of zeros lie {self._hole}: the archive is incomplete, and members "
                "may be missing there"
            )

    def _expect(self, step: _Step, need: int) -> None:
        self._step, self._need = step, need

    def _complete(self, piece: memoryview) -> bytes | None:
        """Return the expected bytes once all of them have arrived, otherwise None."""
        self._buffer += piece
        if self._need:
            return None
        whole = bytes(self._buffer)
        self._buffer.clear()
        return whole

    def _header(self, piece: memoryview) -> Iterator[TarEvent]:
        if (block := self._complete(piece)) is None:
            return
        self._need = BLOCK
        if block.count(0) == BLOCK and not self._extended.is_open:
            self._is_ended = True
            self._is_first = False
            self._zeros += BLOCK
            return
        header = self._read(block)
        if self._is_ended:
            self._end_zeros(self._length - BLOCK)
            self._length = BLOCK
        self._is_first = self._is_ended = False
        if header.kind in EXTENDED:
            self._begin_extended(header)
        else:
            yield from self._begin(header)

    def _end_zeros(self, length: int) -> None:
        """Note zeros that are a hole. `length` is that of the archive with them."""
        if self._zeros > MAX_ZERO_BYTES and not _fills_record(self._zeros, length):
            self._hole = self._hole or self._place
        self._zeros = 0

    def _read(self, block: bytes) -> Header:
        try:
            return read_header(block)
        except TarError as error:
            if self._is_ended:
                raise self._follows() from error
            hint = hint_at(block) if self._is_first else ""
            raise TarError(f"{error}, {self._place}{hint}") from error

    def _follows(self) -> TarError:
        return TarError(f"data that is not a tar archive follows the end of the archive, {self._place}")

    def _begin_extended(self, header: Header) -> None:
        self._extended.begin(header, self._place)
        self._head = header
        self._expect(self._extended_header, _padded(header.size))

    def _extended_header(self, piece: memoryview) -> Iterator[TarEvent]:
        if (block := self._complete(piece)) is not None and self._head is not None:
            content = block[: self._head.size]
            self._expect(self._header, BLOCK)
            try:
                self._extended.take(self._head.kind, content)
            except TarError as error:
                raise TarError(f"{error}, {self._place}") from error
        yield from ()

    def _begin(self, header: Header) -> Iterator[TarEvent]:
        extended, self._extended = self._extended, ExtendedHeaders()
        sparse = extended.sparse
        name = self._name((sparse and sparse.name) or (header.name if extended.name is None else extended.name))
        stored = header.size if extended.size is None else extended.size
        stored = 0 if header.kind in _WITHOUT_CONTENT else stored
        self._place = f"in or after {quoted(name)}"
        # Old writers marked a folder by its name alone. A file with content is one whatever its name.
        is_folder = header.kind == _FOLDER or (header.kind in _REGULAR and name.endswith("/") and not stored)
        if is_folder or header.kind in _METADATA:
            self._skip(_padded(stored))
        elif header.kind in _KINDS:
            target = self._name(header.target if extended.target is None else extended.target)
            yield Member(name, _KINDS[header.kind], target=target)
            self._skip(_padded(stored))
        elif header.kind == _SPARSE or sparse is not None:
            yield from self._begin_sparse(header, sparse, _SparseMember(name, stored))
        else:
            yield from self._begin_file(name, stored, [(0, stored)])

    def _name(self, name: bytes) -> str:
        if len(name) > MAX_NAME_BYTES:
            raise TarError(
                f"the name of a member has {len(name):,} bytes, {self._place}: at most {MAX_NAME_BYTES:,} are read"
            )
        return name.decode("utf-8", "surrogateescape")

    def _begin_sparse(self, header: Header, sparse: Sparse | None, started: _SparseMember) -> Iterator[TarEvent]:
        self._started = started
        if sparse is None:
            started.old = OldMap(header.block)
            yield from self._end_old_map(started.old)
        elif sparse.is_in_content:
            started.size = sparse.size
            self._expect(self._content_map, BLOCK)
        else:
            size = started.stored if sparse.size is None else sparse.size
            yield from self._begin_file(started.name, size, islands_of(sparse.numbers, size, started.stored))

    def _old_map(self, piece: memoryview) -> Iterator[TarEvent]:
        block, old = self._complete(piece), self._started.old
        if block is not None and old is not None:
            old.add(block)
            yield from self._end_old_map(old)

    def _end_old_map(self, old: OldMap) -> Iterator[TarEvent]:
        if old.goes_on:
            self._expect(self._old_map, BLOCK)
        else:
            islands = islands_of(old.numbers, old.size, self._started.stored)
            yield from self._begin_file(self._started.name, old.size, islands)

    def _content_map(self, piece: memoryview) -> Iterator[TarEvent]:
        if (block := self._complete(piece)) is None:
            return
        started = self._started
        if not started.content.add(block):
            self._expect(self._content_map, BLOCK)
            return
        size = 0 if started.size is None else started.size
        islands = islands_of(started.content.numbers, size, started.stored - started.content.stored)
        yield from self._begin_file(started.name, size, islands)

    def _begin_file(self, name: str, size: int, islands: list[Island]) -> Iterator[TarEvent]:
        stored = sum(length for _, length in islands)
        yield Member(name, MemberKind.FILE, size)
        if size > self._limit:
            yield End()
            self._skip(_padded(stored))
        else:
            self._content = _Content(size, iter(islands), _padded(stored) - stored)
            yield from self._next_island()

    def _next_island(self) -> Iterator[TarEvent]:
        content = self._content
        for offset, length in content.islands:
            if length:
                yield from _hole(offset - content.position)
                content.position = offset + length
                self._expect(self._island, length)
                return
        yield from _hole(content.size - content.position)
        yield End()
        self._skip(content.padding)

    def _island(self, piece: memoryview) -> Iterator[TarEvent]:
        yield piece
        if not self._need:
            yield from self._next_island()

    def _skip(self, size: int) -> None:
        if size:
            self._expect(self._skipped, size)
        else:
            self._expect(self._header, BLOCK)

    def _skipped(self, _: memoryview) -> Iterator[TarEvent]:
        if not self._need:
            self._expect(self._header, BLOCK)
        yield from ()


def _fills_record(zeros: int, length: int) -> bool:
    """Return whether the zeros are the two blocks of the end and the rest of a record of 2^n bytes.

    `tar -b 4096` writes records of 2 MiB. An interrupted download ends at such a place by chance only.
    """
    record = 1 << (zeros - 2 * BLOCK - 1).bit_length()
    return length % record == 0


def _hole(size: int) -> Iterator[memoryview]:
    while size:
        piece = _ZEROS[:size]
        yield piece
        size -= len(piece)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
