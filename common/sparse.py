"""The maps of sparse files in tar archives: old GNU, pax 0.0, 0.1 and 1.0."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.tar_headers import TarError, read_decimal, read_number

PREFIX = b"GNU.sparse."
Island = tuple[int, int]
"""Offset and length of data; zeros fill the holes between islands."""

_MAX_ISLANDS = 2**16
_MAX_MAP_BYTES = 2**20
_ENTRY = 24


@dataclass(slots=True)
class Sparse:
    """The pax records of a sparse file."""

    name: bytes | None = None
    size: int | None = None
    is_in_content: bool = False
    numbers: list[int] = field(default_factory=list)

    def add(self, key: bytes, value: bytes) -> None:
        """Add the record `GNU.sparse.<key>`.

        Raises:
            TarError: an invalid number, or a map with too many entries.
        """
        match key:
            case b"name":
                self.name = value
            case b"size" | b"realsize":
                self.size = read_decimal(value, "sparse size")
            case b"major":
                self.is_in_content = value == b"1"
            case b"map":
                self._extend(value.split(b","))
            case b"offset" | b"numbytes":
                self._extend([value])

    def _extend(self, numbers: Sequence[bytes]) -> None:
        if len(self.numbers) + len(numbers) > 2 * _MAX_ISLANDS:
            raise _too_long()
        self.numbers += [read_decimal(number, "sparse offset or length") for number in numbers]


def islands_of(numbers: Sequence[int], size: int, stored: int) -> list[Island]:
    """Pair offsets and lengths, and check them against the size of the file and the number of stored bytes.

    Raises:
        TarError: the islands overlap, exceed the file, or do not add up to the stored bytes.
    """
    islands = list(zip(numbers[::2], numbers[1::2], strict=False))
    end = 0
    for offset, length in islands:
        if offset < end:
            raise _damaged()
        end = offset + length
    if len(numbers) % 2 or end > size or sum(length for _, length in islands) != stored:
        raise _damaged()
    return islands


class OldMap:
    """The map of an old GNU header and its continuation blocks."""

    def __init__(self, block: bytes) -> None:
        self.size = read_number(block[483:495])
        self.numbers = _entries(block[386:482])
        self.goes_on = bool(block[482])

    def add(self, block: bytes) -> None:
        """Add the next block; raise TarError if the map becomes too long."""
        self.numbers += _entries(block[:504])
        self.goes_on = bool(block[504])
        if len(self.numbers) > 2 * _MAX_ISLANDS:
            raise _too_long()


class ContentMap:
    """The map before the content of a file in pax 1.0: decimal numbers, one per line, the count first."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._lines = 0
        self._needed: int | None = None

    def add(self, block: bytes) -> bool:
        """Add the next block; return whether the map is complete.

        Raises:
            TarError: the map has no count, or is too long.
        """
        self._data += block
        self._lines += block.count(b"\n")
        if self._needed is None:
            count = read_decimal(bytes(block.partition(b"\n")[0]), "sparse map length")
            self._needed = 1 + 2 * count
        if self._needed > 2 * _MAX_ISLANDS or len(self._data) > _MAX_MAP_BYTES:
            raise _too_long()
        return self._lines >= self._needed

    @property
    def stored(self) -> int:
        """The length of the map in bytes."""
        return len(self._data)

    @property
    def numbers(self) -> list[int]:
        """The offsets and lengths of a complete map."""
        lines = bytes(self._data).split(b"\n")[1 : self._needed]
        return [read_decimal(line, "sparse offset or length") for line in lines]


def _entries(data: bytes) -> list[int]:
    numbers: list[int] = []
    for start in range(0, len(data), _ENTRY):
        if not data[start]:
            break
        numbers += [read_number(data[start : start + 12]), read_number(data[start + 12 : start + _ENTRY])]
    return numbers


def _damaged() -> TarError:
    return TarError("the map of a sparse file in the archive is damaged")


def _too_long() -> TarError:
    return TarError(f"the map of a sparse file in the archive is too long: at most {_MAX_ISLANDS:,} pieces are read")
