"""Tars made from a seed, with the expected verdicts: formats, links, sparse files, labels, companions in any order."""

import io
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP"
Format = Literal[0, 1, 2]

NAMED = (".png", ".PNG", ".jpg", ".jpeg", ".webp", ".jpe", ".jfif", ".pjpeg", ".0.png", ".5 high.png", ".v-1.0001.jpg")
BY_CONTENT = ("", ".dat", ".0001", ".tmp")


@dataclass
class Tar:
    """An archive, and the images in it that have a line: name and content, or the code of an error."""

    data: bytes = b""
    images: list[tuple[str, bytes | str]] = field(default_factory=list)


def header(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "", form: Format = 1) -> bytes:
    """One header, and the extended ones that it needs."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info.tobuf(form, "utf-8", "surrogateescape")


def pad(content: bytes) -> bytes:
    """Content up to the next block."""
    return content + bytes(-len(content) % 512)


def member(name: str, content: bytes, form: Format = 1, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One member with its content."""
    return header(name, kind=kind, size=len(content), form=form) + pad(content)


def extended(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header of any content."""
    return header("x", kind=kind, size=len(records), form=0) + pad(records)


def record(key: str, value: str | int) -> bytes:
    """One pax record."""
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size += 1
    return str(size).encode() + rest


def signed(block: bytearray) -> bytes:
    """A header block with its checksum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def old_sparse(name: str, islands: list[tuple[int, bytes]], size: int) -> bytes:
    """A sparse file as GNU tar wrote them first; its map may need blocks of its own."""
    stored = b"".join(data for _, data in islands)
    entries = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in islands]
    whole = header(name, kind=b"S", size=len(stored))
    block = bytearray(whole[-512:])
    block[386 : 386 + 24 * len(entries[:4])] = b"".join(entries[:4])
    block[482], block[483:495] = len(entries) > 4, b"%011o\0" % size
    blocks = [whole[:-512], signed(block)]
    rest = entries[4:]
    while rest:
        now, rest = rest[:21], rest[21:]
        blocks.append(b"".join(now).ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7))
    return b"".join(blocks) + pad(stored)


def pax_sparse(name: str, islands: list[tuple[int, bytes]], size: int, *, version: str = "1.0") -> bytes:
    """A sparse file in one of the three ways that pax archives have."""
    stored = b"".join(data for _, data in islands)
    pairs = [(offset, len(data)) for offset, data in islands]
    if version == "1.0":
        numbers = [len(pairs), *(number for pair in pairs for number in pair)]
        stored = pad("".join(f"{number}\n" for number in numbers).encode()) + stored
        records = record("GNU.sparse.major", 1) + record("GNU.sparse.minor", 0) + record("GNU.sparse.realsize", size)
        records += record("GNU.sparse.name", name)
    elif version == "0.1":
        records = record("GNU.sparse.size", size) + record("GNU.sparse.name", name)
        records += record("GNU.sparse.map", ",".join(str(number) for pair in pairs for number in pair))
    else:
        records = record("GNU.sparse.size", size) + record("path", name)
        for offset, length in pairs:
            records += record("GNU.sparse.offset", offset) + record("GNU.sparse.numbytes", length)
    return extended(records) + member("GNUSparseFile.0/x", stored)


class Writer:
    """Writes one archive by the choices of a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tar = Tar()
        self.form: Format = self.random.choice((0, 1, 2))
        self._count = 0
        self._out = io.BytesIO()
        self._steps: list[Callable[[], None]] = [
            *[self.plain] * 4, self.numbered, self.companions, self.candidates, self.by_content, self.link,
            self.device, self.sparse, self.metadata, self.others, self.twice, self.unsorted, self.odd_kind, self.end,
        ]  # fmt: skip

    def write(self, steps: int) -> Tar:
        """The archive of some random steps."""
        for _ in range(steps):
            self.random.choice(self._steps)()
        self.end()
        self.tar.data = self._out.getvalue()
        return self.tar

    def key(self) -> str:
        self._count += 1
        folder = self.random.choice(("", "", "d/", "very/" * 30, "é/"))
        return f"{folder}s{self._count:04d}"

    def content(self) -> bytes:
        self._count += 1
        return self.random.choice((PNG, JPEG, WEBP)) + b"%d" % self._count * self.random.randrange(1, 400)

    def image(self, name: str, *, is_judged: bool = True) -> None:
        content = self.content()
        self._out.write(member(name, content, self.form))
        if is_judged:
            self.tar.images.append((name, content))

    def plain(self) -> None:
        self.image(self.key() + self.random.choice(NAMED))

    def numbered(self) -> None:
        key = self.key()
        for number in range(self.random.randrange(1, 5)):
            self.image(f"{key}.{number}{self.random.choice(('', 'f'))}.png")
            if self.random.random() < 0.3:
                self.image(f"{key}.f{number}.png")

    def companions(self) -> None:
        key = self.key()
        before, after = self.random.sample(["cond", "mask", "seg", "depth-map", "v2"], 2)
        for annotation in self.random.choice(((), (before,), (before, after))):
            self.image(f"{key}.{annotation}.png", is_judged=False)
        self.image(f"{key}.png")
        if self.random.random() < 0.5:
            self.image(f"{key}.{after}.jpg", is_judged=False)
        if self.random.random() < 0.5:
            self._out.write(member(f"{key}.json", b"{}", self.form))

    def candidates(self) -> None:
        key = self.key()
        for annotation in ("cond", "mask", "x")[: self.random.randrange(1, 4)]:
            self.image(f"{key}.{annotation}.png")

    def by_content(self) -> None:
        self.image(self.key() + self.random.choice(BY_CONTENT))
        self.image("d/._hidden-but-an-image.png")
        self.image(f"{self.key()}.gif")

    def link(self) -> None:
        kind = self.random.choice((tarfile.LNKTYPE, tarfile.SYMTYPE))
        name = self.key() + self.random.choice((".png", ""))
        self._out.write(header(name, kind=kind, target="x" * self.random.choice((3, 150)) + ".png", size=7))
        self.tar.images.append((name, "missing_image"))

    def device(self) -> None:
        name = self.key() + ".jpg"
        self._out.write(header(name, kind=self.random.choice((tarfile.CHRTYPE, tarfile.FIFOTYPE))))
        self.tar.images.append((name, "missing_image"))

    def sparse(self) -> None:
        name, first, size = self.key() + ".png", self.content(), 20_000
        islands = [(0, first)] + [(8_000 + 1_000 * place, b"island") for place in range(self.random.randrange(9))]
        whole = bytearray(size)
        for offset, data in islands:
            whole[offset : offset + len(data)] = data
        version = self.random.choice(("old", "0.0", "0.1", "1.0"))
        made = old_sparse(name, islands, size) if version == "old" else pax_sparse(name, islands, size, version=version)
        self._out.write(made)
        self.tar.images.append((name, bytes(whole)))

    def metadata(self) -> None:
        self._out.write(
            self.random.choice(
                (
                    header("label", kind=b"V"),
                    member("dump/", b"Ya.png\0\0", kind=b"D"),
                    header("d.png", kind=tarfile.DIRTYPE),
                    extended(record("comment", "c" * 3000), tarfile.XGLTYPE),
                    member("d/._x.png", b"\0\5\x16\7" + bytes(60)),
                    member("__MACOSX/x.jpg", b"\0\5\x16\7"),
                    member(".DS_Store", b"Bud1"),
                    member("d/Thumbs.db", b"\xd0\xcf\x11\xe0"),
                    bytes(512),
                )
            )
        )

    def others(self) -> None:
        self._out.write(member(self.key() + self.random.choice((".json", ".cls", ".npy", "")), b"text", self.form))

    def twice(self) -> None:
        name = self.key() + ".png"
        self.image(name)
        if self.random.random() < 0.5:
            self.plain()
        self.image(name)

    def unsorted(self) -> None:
        """Separate a companion from its image: it is judged as an image of its own."""
        first, second = self.key(), self.key()
        self.image(f"{first}.mask.png")
        self.image(f"{second}.png")
        self._out.write(member(f"{second}.json", b"{}", self.form))
        self.image(f"{first}.png")
        self.image(f"{first}.mask.png", is_judged=False)

    def odd_kind(self) -> None:
        name, content = self.key() + ".png", self.content()
        self._out.write(member(name, content, kind=self.random.choice((b"7", b"Z", b"\0"))))
        self.tar.images.append((name, content))

    def end(self) -> None:
        """End the archive; another one follows."""
        self._out.write(bytes(512 * self.random.choice((1, 2, 20))))
