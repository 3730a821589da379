"""The extended headers before a member of a tar, bounded in number and bytes: long names and pax records."""

from dataclasses import dataclass

from common.sparse import PREFIX, Sparse
from common.tar_headers import Header, TarError, pax_records, read_decimal

MAX_EXTENDED_BYTES = 2**20
"""Most bytes of the extended headers of one member: long names and pax records."""

MAX_EXTENDED_HEADERS = 16

_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL = (b"L",), (b"K",), (b"x", b"X"), (b"g",)
EXTENDED = _LONG_NAME + _LONG_TARGET + _PAX + _PAX_GLOBAL
"""The types of extended headers."""


@dataclass(slots=True)
class ExtendedHeaders:
    """The fields that the extended headers of one member set; None where the member's own header counts."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None
    sparse: Sparse | None = None
    is_open: bool = False
    """Whether a header for the next member was read, so that the member must follow."""
    _headers: int = 0
    _bytes: int = 0

    def begin(self, header: Header, place: str) -> None:
        """Count a header before its content is read.

        Args:
            header: of one of the types `EXTENDED`.
            place: where it lies, for the error.

        Raises:
            TarError: the headers of this member are too many or too long.
        """
        self._headers += 1
        self._bytes += header.size
        if self._bytes > MAX_EXTENDED_BYTES:
            raise TarError(
                f"the extended headers of a member have {self._bytes:,} bytes, {place}: "
                f"at most {MAX_EXTENDED_BYTES:,} are read"
            )
        if self._headers > MAX_EXTENDED_HEADERS:
            raise TarError(f"a member has more than {MAX_EXTENDED_HEADERS} extended headers, {place}")
        self.is_open |= header.kind not in _PAX_GLOBAL

    def take(self, kind: bytes, content: bytes) -> None:
        """Read the content of a header.

        Raises:
            TarError: it is malformed, or a global one sets a field that differs for each member.
        """
        if kind in _LONG_NAME:
            self.name = content.partition(b"\0")[0] or None
        elif kind in _LONG_TARGET:
            self.target = content.partition(b"\0")[0] or None
        elif kind in _PAX:
            self._take_records(content)
        else:
            _check_global(content)

    def _take_records(self, content: bytes) -> None:
        for key, value in pax_records(content):
            if not value:  # POSIX: the header's own field counts.
                continue
            if key == b"path":
                self.name = value
            elif key == b"linkpath":
                self.target = value
            elif key == b"size":
                self.size = read_decimal(value, "size")
            elif key.startswith(PREFIX):
                self.sparse = self.sparse or Sparse()
                self.sparse.add(key.removeprefix(PREFIX), value)


def _check_global(content: bytes) -> None:
    for key, _ in pax_records(content):
        if key in (b"path", b"size") or key.startswith(PREFIX):
            raise TarError(f"a global header of the archive sets {key[:40].decode('utf-8', 'replace')!r} for all")
