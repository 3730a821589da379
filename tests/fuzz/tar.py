"""Tar uploads: the first byte says how the rest is cut. A recipe builds an archive whose images are known."""

import tarfile
from collections.abc import Iterator

from service.api.batch.tar_framing import TarParser
from tests.fuzz.framing import Image, cut, images_of
from tests.fuzz.recipes import recipe_in, recipes
from tests.fuzz.tar_recipes import build
from tests.service.streams.uploads import Format, archive

MAX_BYTES = 8_192
WORDS = (
    b"ustar\0",
    b"ustar  \0",
    b".png",
    b".json",
    b".cls",
    b"path=",
    b"size=",
    b"GNU.sparse.major=1",
    b"././@LongLink",
)
_LIMIT = 2**20
_FORMATS: tuple[Format, ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def read(data: bytes, step: int) -> tuple[list[Image], str | None]:
    """Images and verdict of pieces of this size."""
    return images_of(TarParser(_LIMIT), cut(data, step), limit=_LIMIT)


def check(data: bytes) -> None:
    """Raise AssertionError, or another exception, if the invariant is broken."""
    if draw := recipe_in(data):
        step, known = 1 + draw.byte(), build(draw)
        # A thousand pieces of a megabyte at most, or one input would take seconds.
        images, code = read(known.data, max(step, len(known.data) // 1_000))
        assert (images, code is not None) == (known.images, known.is_refused), f"{images} {code} instead of {known}"
        return
    step, rest = 1 + (data[0] if data else 0), with_sums(data[1:])
    assert read(rest, step) == read(rest, max(1, len(rest))), f"pieces of {step} bytes are read differently"


def with_sums(data: bytes) -> bytes:
    """The same blocks; those that say `ustar` with the checksum that a header needs, which no mutation would find."""
    mended = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        if mended[start + 257 : start + 262] == b"ustar":
            mended[start + 148 : start + 156] = b" " * 8
            mended[start + 148 : start + 156] = b"%06o\0 " % sum(mended[start : start + 512])
    return bytes(mended)


def seeds() -> Iterator[bytes]:
    """Archives of every format with all kinds of members, and truncated ones."""
    members = [
        ("a.png", b"first"),
        ("a.cls", b"1"),
        ("b.JPG", b""),
        ("d.json", b'{"expected": "glasses"}'),
        ("d.webp", b"x"),
    ]
    for number, each in enumerate(_FORMATS):
        whole = archive(members, archive_format=each)[:6_144]
        yield bytes([255 >> number]) + whole
        yield bytes([0]) + whole[:700]
    yield b"\x07" + archive([("é" * 90 + ".png", b"x")], archive_format=tarfile.PAX_FORMAT)[:4_096]
    yield b"\xff" + archive([("x" * 120 + ".png", b"x")], archive_format=tarfile.GNU_FORMAT)[:4_096]
    yield (
        b"\xff" + archive([("a.png", b"x")])[:1_024] + bytes(1_024) + archive([("b.png", b"y")])[:1_024] + bytes(1_024)
    )
    yield from (b"", b"\0", b"\x05\x1f\x8b\x08", b"\xff" + bytes(1_024))
    for kind in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.XGLTYPE,
        tarfile.XHDTYPE,
        b"M",
        b"S",
    ):
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname, info.size = kind, "b.png", 12 if kind in (tarfile.XGLTYPE, tarfile.XHDTYPE) else 0
        head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "replace")
        yield b"\x3f" + head + b"12 path=b.p\n".ljust(512, b"\0") + bytes(1_024)
    yield from recipes(200)
