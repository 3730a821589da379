"""A unit: one unit of work, and the shard it becomes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from common.storage import StoredFile

SourceKind = Literal["images", "webdataset", "parquet"]


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """Some files of a folder, one tar, or one row group of a Parquet file.

    Args:
        kind: how it is read.
        source: SRC's URL.
        root: the path that the ids of images are relative to.
        slot: the name of its shard: the same as long as it begins where it began.
        files: its files.
        row_group: of a Parquet file.
        images: how many, where that is known before it is read, or else 0.
    """

    kind: SourceKind
    source: str
    root: str
    slot: str
    files: tuple[StoredFile, ...]
    row_group: int = 0
    images: int = 0

    @property
    def fingerprint(self) -> str:
        """Changes with any of its files."""
        lines = (f"{file.title}\0{file.size}\0{file.version}" for file in self.files)
        return digest([self.kind, str(self.row_group), *lines])


def slot_name(kind: SourceKind, title: str, *identity: str) -> str:
    """The name of a shard, without its ending: what a person may know it by, and what no other shard shares."""
    # Never empty, and never with `.` or `_` at its front: readers of data sets pass over such files.
    readable = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:60] or "part"
    return f"{readable}-{digest([kind, *identity])[:12]}"


def digest(texts: Iterable[str]) -> str:
    """SHA-256 over texts, in hexadecimal. Names need not be Unicode."""
    state = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()
