"""The header blocks of tar archives: ustar, GNU and pax fields, their numbers and their records."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
MAX_SIZE = 2**63 - 1

_OCTAL = re.compile(rb" *([0-7]*)[ \0]?")
_RECORD_DIGITS = 20
_GNU_MAGIC = b"ustar  \0"

_MAGICS = {
    b"\x1f\x8b": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x89PNG\r\n": "a PNG image and no archive of images",
    b"\xff\xd8\xff": "a JPEG image and no archive of images",
}


class TarError(ValueError):
    """The archive is damaged, cut off, or no archive; the text is fit to be shown to its sender."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header block. `block` is all of it: sparse files keep their map there."""

    name: bytes
    kind: bytes
    size: int
    target: bytes
    block: bytes


def read_header(block: bytes) -> Header:
    """Read one block of 512 bytes.

    Raises:
        TarError: its checksum is wrong, or its size is no number.
    """
    _check(block)
    name = _text(block[:100])
    # GNU tar keeps times and offsets where ustar has the front of a long name.
    if block.startswith(b"ustar", 257) and block[257:265] != _GNU_MAGIC and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    return Header(name, block[156:157], read_number(block[124:136]), _text(block[157:257]), block)


def read_number(field: bytes) -> int:
    """Read a number in octal, or in base 256 where the first bit is set.

    Raises:
        TarError: it is neither, negative, or larger than any file.
    """
    if field[0] & 0x80:
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
    else:
        match = _OCTAL.fullmatch(field.partition(b"\0")[0])
        size = int(match[1] or b"0", 8) if match else -1
    if not 0 <= size <= MAX_SIZE:
        raise TarError(f"the archive has a member whose size {field!r} is no number from 0 to 2^63 - 1")
    return size


def read_decimal(digits: bytes, what: str) -> int:
    """Read a number of a pax record.

    Raises:
        TarError: it has other characters than digits, or is larger than any file.
    """
    if not (digits.isdigit() and len(digits) < _RECORD_DIGITS and int(digits) <= MAX_SIZE):
        raise TarError(f"the archive has a member of {what} {digits[:40].decode('utf-8', 'replace')!r}")
    return int(digits)


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split `b"<length> <key>=<value>\\n"` records, whose length counts all of itself.

    Raises:
        TarError: one of them is damaged.
    """
    start = 0
    while start < len(data) and data[start]:
        digits = data[start : start + _RECORD_DIGITS].partition(b" ")[0]
        end = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = data[start + len(digits) + 1 : end].partition(b"=")
        if not (key and equals and value.endswith(b"\n") and end <= len(data)):
            raise TarError("an extended header of the archive is damaged")
        yield key, value[:-1]
        start = end


def hint_at(data: bytes) -> str:
    """Say what data is instead of a tar archive, if its first bytes tell."""
    for magic, what in _MAGICS.items():
        if data.startswith(magic):
            return f": it is {what}; an uncompressed tar archive is read"
    return ""


def _check(block: bytes) -> None:
    match = _OCTAL.fullmatch(block[148:156].partition(b"\0")[0])
    stored = int(match[1] or b"0", 8) if match else -1
    # The checksum counts as spaces.
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    # Some old writers added up signed bytes.
    if stored != unsigned and stored != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        raise TarError("there is no tar header where one must be")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
