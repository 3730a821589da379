"""The header blocks of tar archives: ustar, GNU and pax fields, their numbers and their records."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
MAX_SIZE = 2**63 - 1

_OCTAL = re.compile(rb"[0-7]*")
_RECORD_DIGITS = 20
_GNU_MAGIC = b"ustar  \0"

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "lz4",
}
_OTHERS = {
    b"PK\x03\x04": "a zip archive, make a tar of its files",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive, make a tar of its files",
    b"Rar!": "a RAR archive, make a tar of its files",
    b"070701": "a cpio archive, make a tar of its files",
    b"070707": "a cpio archive, make a tar of its files",
    b"\x89PNG\r\n": "a PNG image and no archive of images",
    b"\xff\xd8\xff": "a JPEG image and no archive of images",
    b"version https://git-lfs": "a Git LFS pointer, fetch its file with `git lfs pull`",
    b"<": "HTML or XML, such as an error page of a server",
    b"--": "a multipart form, send the archive in it as the whole body",
}


class TarError(ValueError):
    """The archive is damaged, truncated, or not an archive; the text is safe to return to the sender."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header block. `block` is the whole block, which holds the map of a sparse file."""

    name: bytes
    kind: bytes
    size: int
    target: bytes
    block: bytes


def read_header(block: bytes) -> Header:
    """Read one block of 512 bytes.

    Raises:
        TarError: a wrong checksum or an invalid size.
    """
    _check(block)
    name = _text(block[:100])
    # GNU tar stores times and offsets in the bytes that hold the prefix of a long name in ustar.
    if block.startswith(b"ustar", 257) and block[257:265] != _GNU_MAGIC and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    return Header(name, block[156:157], read_number(block[124:136]), _text(block[157:257]), block)


def read_number(field: bytes) -> int:
    """Read a number in octal, or in base 256 if the first bit is set.

    Raises:
        TarError: an invalid number, negative, or larger than any file.
    """
    size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if not 0 <= size <= MAX_SIZE:
        raise TarError(f"the archive has a member whose size {field!r} is not a number from 0 to 2^63 - 1")
    return size


def read_decimal(digits: bytes, field: str) -> int:
    """Read a number of a pax record.

    Raises:
        TarError: characters other than digits, or a number larger than any file.
    """
    if not (digits.isdigit() and len(digits) < _RECORD_DIGITS and int(digits) <= MAX_SIZE):
        raise TarError(f"the archive has a member of {field} {digits[:40].decode('utf-8', 'replace')!r}")
    return int(digits)


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split `b"<length> <key>=<value>\\n"` records; the length counts the whole record.

    Raises:
        TarError: a record is damaged.
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
    """Return a hint at the format of data that is not a tar archive, if its first bytes identify it."""
    for magic, program in _COMPRESSED.items():
        if data.startswith(magic):
            return f": it is compressed by {program}, decompress it first"
    return next((f": it is {text}" for magic, text in _OTHERS.items() if data.startswith(magic)), "")


def _check(block: bytes) -> None:
    stored = _octal(block[148:156])
    # The checksum field itself counts as spaces.
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    # Some old writers summed signed bytes.
    if stored != unsigned and stored != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        raise TarError("there is no tar header where one must be")


def _octal(field: bytes) -> int:
    """Return the number in a field, or -1. Old writers put blanks and NULs on both sides of it."""
    digits = field.lstrip(b" \0").partition(b"\0")[0].rstrip(b" ")
    return int(digits or b"0", 8) if _OCTAL.fullmatch(digits) else -1


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
