"""Work units: the input of one worker call, and the name of the shard it writes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from common.storage import StoredFile

SourceKind = Literal["images", "webdataset", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnit:
    """A few hundred files of a folder, one tar, or one row group of a Parquet file.

    Args:
        kind: the format of its files.
        source: URL of SRC.
        root: the path that image ids are relative to.
        slot: the name of its shard, stable as long as the unit starts at the same file.
        files: its files.
        row_group: the number of the row group in a Parquet file; None for all of them.
        images: the number of images if known before reading, otherwise 0.
    """

    kind: SourceKind
    source: str
    root: str
    slot: str
    files: tuple[StoredFile, ...]
    row_group: int | None = 0
    images: int = 0

    @property
    def fingerprint(self) -> str:
        """A digest that changes with any of its files."""
        lines = (f"{file.title}\0{file.size}\0{file.version}" for file in self.files)
        return digest([self.kind, str(self.row_group), *lines])

    @property
    def has_versions(self) -> bool:
        """Whether a change of its files shows; some web servers tell neither size nor time."""
        return all(file.size is not None or file.version for file in self.files)


def slot_name(kind: SourceKind, title: str, *identity: str) -> str:
    """Return the name of a shard without its suffix: a readable part, and a digest that makes it unique."""
    # Never empty or with a leading `.` or `_`: readers of data sets skip such files.
    readable = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:60] or "part"
    return f"{readable}-{digest([kind, *identity])[:12]}"


def digest(texts: Iterable[str]) -> str:
    """Return the SHA-256 of several texts in hexadecimal. Surrogates stand for bytes that are not UTF-8."""
    state = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()
