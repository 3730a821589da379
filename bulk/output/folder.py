"""One flat folder that a run writes to."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bulk.errors import DestinationError
from common.storage import TEMPORARY, WebFiles, locate, locked


class Folder:
    """The folder at `url`, which need not exist yet.

    Raises:
        DestinationError: it is a file, or cannot be written to.
        UrlError: the URL is invalid.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._store, self._path = locate(url, options)
        self.url = self._store.name(self._path)
        self.readers = self._store.readers
        if isinstance(self._store, WebFiles):
            raise DestinationError(f"{self.url} is on a web server: name a folder, or a URL such as s3://BUCKET/table")
        if self._store.look(self._path) is not None:
            raise DestinationError(f"{self.url} is a file: name a folder")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other runs. An object store has no locks; there the operator must avoid two runs.

        Raises:
            DestinationError: it is not a folder.
            FolderInUse: another run holds the lock.
        """
        if not self._store.is_local:
            yield
            return
        if not self._store.is_folder(self._path) and os.path.lexists(self._path):
            raise DestinationError(f"{self.url} is not a folder: name a folder")
        with locked(Path(self._path)):
            yield

    def names(self) -> list[str]:
        """Return the names of its files without hidden ones."""
        return [name for name in self._all() if not name.startswith(".")]

    def sweep(self) -> list[str]:
        """Remove unfinished files of killed runs or workers, which exist in local folders only; return their names."""
        unfinished = [name for name in self._all() if name.startswith(TEMPORARY)] if self._store.is_local else []
        for name in unfinished:
            self.remove(name)
        return [name.removeprefix(TEMPORARY) for name in unfinished]

    def opened(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open one of its files for reading."""
        return self._store.open(f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        """Remove one of its files."""
        self._store.remove(f"{self._path}/{name}")

    def _all(self) -> list[str]:
        return [file.path.rpartition("/")[2] for file in self._store.list(self._path).files]
