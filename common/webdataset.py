"""The rules of WebDataset shards: group members into samples, and decide which images are judged."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from common.tar import End, Member, MemberKind, TarReader
from common.terminal import printable, quoted
from gate.header import IMAGE_ENDINGS

OTHER_ENDINGS = (".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".tga", ".tif", ".tiff")
"""Suffixes of images in formats that the gate does not read; they are reported as errors."""

MAX_HELD = 16
"""Limit on the images of a sample that are held until its main image shows whether they are companions."""

_MAGIC_BYTES = 12
_OF_WINDOWS = ("desktop.ini", "thumbs.db")
_ESCAPE = re.compile(r"\\(x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")
"""What `printable` writes in place of a character."""

_ANNOTATION = re.compile(r"[a-z_][\w-]*(\.|$)", re.IGNORECASE)


class Rank(Enum):
    """The role of a file in its sample."""

    IMAGE = "image"
    """The main image `x.png`."""

    VARIANT = "variant"
    """An image of its own, such as `x.0.png`, or `x.latest` that links to an image; candidates do not accompany it."""

    CANDIDATE = "candidate"
    """Judged if its sample has no main image: `x.mask.png`, or an image by content alone, such as `x.thumb`."""

    OTHER = "other"
    METADATA = "metadata"
    """A hidden file, metadata of the macOS archiver or of a Windows folder, without image content."""


class Fate(Enum):
    """The verdict on an image, or on the images that were held."""

    JUDGE = "judge"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMember:
    """The header of a member, before its content.

    Args:
        name: its path in the tar.
        key: the sample's key.
        ending: the text after the key's dot.
        rank: its role in the sample.
        fate: the verdict on it; None unless it is an image.
        settled: the verdict on the images held so far, if this member decides it.
    """

    name: str
    key: str
    ending: str
    rank: Rank
    fate: Fate | None
    settled: Fate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class File(ShardMember):
    """The start of a file of `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(ShardMember):
    """A member without content: a link, a device, or the rest of a file from another volume; `detail` says which."""

    detail: str


ShardEvent = File | Unreadable | bytes | memoryview | End


class ShardReader:
    """Reads the files of a tar in order; classifies each file before its content.

    Args:
        limit: size in bytes of the largest file whose content is read.
    """

    def __init__(self, limit: int) -> None:
        self._tar = TarReader(limit)
        self._companions = _Companions()
        self._unknown: Member | None = None
        self._head = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[ShardEvent]:
        """Yield the events in `data`; consume all of them before the next call.

        Raises:
            TarError: after the preceding events; the reader cannot be fed any further.
        """
        for event in self._tar.feed(data):
            if isinstance(event, Member):
                yield from self._begin(event)
            elif self._unknown is None:
                yield event
            else:
                yield from self._look(self._unknown, event)

    def close(self) -> None:
        """End the input.

        Raises:
            TarError: the archive is incomplete.
        """
        self._tar.close()

    def _begin(self, member: Member) -> Iterator[ShardEvent]:
        rank = _rank_by_name(member.name)
        if member.kind is not MemberKind.FILE:
            yield self._unreadable(member, rank)
        elif rank is None:
            self._unknown = member
        else:
            yield self._file(member, rank)

    def _look(self, member: Member, event: memoryview | End) -> Iterator[ShardEvent]:
        """Collect the first bytes of a file, and classify it by them."""
        if not isinstance(event, End):
            self._head += event
            if len(self._head) < _MAGIC_BYTES:
                return
        head = bytes(self._head)
        self._unknown = None
        self._head.clear()
        yield self._file(member, _rank_by_content(member.name, head))
        if head:
            yield head
        if isinstance(event, End):
            yield event

    def _file(self, member: Member, rank: Rank) -> File:
        key, ending = split_name(member.name)
        fate, settled = self._companions.classify(key, rank)
        return File(name=member.name, key=key, ending=ending, rank=rank, fate=fate, settled=settled, size=member.size)

    def _unreadable(self, member: Member, rank: Rank | None) -> Unreadable:
        if rank is None and member.kind is MemberKind.LINK and _rank_by_name(member.target) is not None:
            rank = Rank.VARIANT
        if rank is None:
            rank = Rank.METADATA if _is_hidden(member.name) else Rank.OTHER
        detail = f"{quoted(member.name)} is {member.kind.value}"
        if member.kind is MemberKind.LINK:
            detail += f" to {quoted(member.target)}: write files, as `tar --dereference --hard-dereference` does"
        key, ending = split_name(member.name)
        fate, settled = self._companions.classify(key, rank)
        return Unreadable(
            name=member.name, key=key, ending=ending, rank=rank, fate=fate, settled=settled, detail=detail
        )


class _Companions:
    """Decides, member by member, which images of a sample are judged and which accompany another one.

    Members of a sample follow each other. A candidate is a companion if its sample has a main image before it, or
    after it with no variant and at most `MAX_HELD` candidates in between.
    """

    def __init__(self) -> None:
        self._key: str | None = None
        self._has_image = False
        self._held = 0

    def classify(self, key: str, rank: Rank) -> tuple[Fate | None, Fate | None]:
        """Return the verdict on this member, and the verdict on the held images; None if undecided."""
        if rank is Rank.METADATA:
            return None, None
        settled = None
        if key != self._key:
            settled = Fate.JUDGE if self._held else None
            self._key, self._has_image, self._held = key, False, 0
        if rank is Rank.IMAGE:
            settled = Fate.DROP if self._held else settled
            self._has_image, self._held = True, 0
            return Fate.JUDGE, settled
        if rank is Rank.VARIANT:
            # The lines of held candidates come first.
            settled, self._held = Fate.JUDGE if self._held else settled, 0
            return Fate.JUDGE, settled
        if rank is not Rank.CANDIDATE:
            return None, settled
        if self._has_image:
            return Fate.DROP, settled
        if self._held == MAX_HELD:
            settled, self._held = Fate.JUDGE, 0
        self._held += 1
        return Fate.HOLD, settled


def split_name(name: str) -> tuple[str, str]:
    """Split a name into key and ending as WebDataset does: at the first dot of the file name except leading dots."""
    folder, slash, file = name.rpartition("/")
    dots = len(file) - len(file.lstrip("."))
    stem, _, ending = file[dots:].partition(".")
    return folder + slash + file[:dots] + stem, ending


def distinct_path(path: str) -> str:
    """Return a path as valid Unicode that differs for every path, also where one holds what looks like an escape."""
    return "/".join(map(_distinct, path.split("/")))


def _distinct(name: str) -> str:
    if printable(name) != name or _ESCAPE.search(name):
        name = name.replace("\\", "\\\\")
    return printable(name)


def _is_hidden(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file.startswith(".") or file.lower() in _OF_WINDOWS or "__MACOSX" in folder.split("/")


def _rank_by_name(name: str) -> Rank | None:
    """Return the rank by name, or None if the content must decide."""
    if _is_hidden(name):
        return None
    lower = name.lower()
    if lower.endswith(IMAGE_ENDINGS):
        return _rank_image(split_name(name)[1].rpartition(".")[0])
    return Rank.CANDIDATE if lower.endswith(OTHER_ENDINGS) else None


def _rank_by_content(name: str, head: bytes) -> Rank:
    if not _is_image(head):
        return Rank.METADATA if _is_hidden(name) else Rank.OTHER
    ending = split_name(name)[1]
    return _rank_image(ending.rpartition(".")[0] if ending.lower().endswith(_BARE_ENDINGS) else ending)


_BARE_ENDINGS = tuple(ending[1:] for ending in IMAGE_ENDINGS)


def _rank_image(annotation: str) -> Rank:
    """Rank an image: `x.mask.png` annotates `x.png`; `x.0.png` and `v1.5-7.png` are images of their own."""
    if not annotation:
        return Rank.IMAGE
    return Rank.CANDIDATE if _ANNOTATION.match(annotation) else Rank.VARIANT


def _is_image(head: bytes) -> bool:
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
