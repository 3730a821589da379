"""Cut a folder into units by content-defined chunking: a new file moves only the cuts next to it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.storage import StoredFile


@dataclass(frozen=True, slots=True)
class Chunking:
    """A unit begins at a file whose hashed name is a multiple of `period`, and has `least` to `most` files."""

    least: int = 128
    period: int = 128
    most: int = 512

    def groups(self, files: Iterable[StoredFile], root: str) -> Iterator[tuple[StoredFile, ...]]:
        """Group consecutive files below `root`: 256 per group on average with the defaults."""
        group: list[StoredFile] = []
        for file in files:
            if len(group) >= self.most or (len(group) >= self.least and self._begins(file.title.removeprefix(root))):
                yield tuple(group)
                group = []
            group.append(file)
        if group:
            yield tuple(group)

    def _begins(self, name: str) -> bool:
        data = name.encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big") % self.period == 0
