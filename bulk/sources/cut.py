"""Where a folder is cut into units: by the names themselves, so that files added later shift no cut but their own."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.storage import StoredFile


@dataclass(frozen=True, slots=True)
class Cut:
    """A part begins at a name whose hash is a multiple of `period`, unless the one before would be shorter than `least`
    or longer than `most` files.
    """

    least: int = 128
    period: int = 128
    most: int = 512

    def groups(self, files: Iterable[StoredFile], root: str) -> Iterator[tuple[StoredFile, ...]]:
        """Items below `root` in their order, in groups: 256 each on average as things stand."""
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
