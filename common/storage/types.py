"""The interface of every store, and the files that it lists."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

EntryFault = Literal["unreadable_folder", "not_a_file"]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store.

    Args:
        path: its path in the store.
        size: its bytes; None for a file that is missing.
        version: a text that changes with the content, such as an ETag or a modification time.
        name: the path as outputs show it, where `path` holds credentials.
        fault: the code of the error that stands for an entry which cannot be read.
        detail: the reason for the fault.
    """

    path: str
    size: int | None
    version: str
    name: str = ""
    fault: EntryFault | None = None
    detail: str = ""

    @property
    def title(self) -> str:
        """The path that outputs show."""
        return self.name or self.path


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder: its files and the paths of its folders, each sorted by name, hidden ones included.

    The files can be iterated over once. FIFOs, sockets and devices among them have a `fault`.
    """

    files: Iterable[StoredFile]
    folders: Sequence[str]


def any_path(_: str) -> bool:
    """Accept every path."""
    return True


class FileStore(Protocol):
    """A store of files. Paths are absolute within it and use `/`. Every method may raise OSError.

    A store whose paths hold neither credentials nor a query inherits the texts of a path.
    """

    is_local: bool
    lists_cheaply: bool = True
    """Whether a listing asks for a folder as a whole, not for each of its files."""

    readers: int = 32
    """Files to read concurrently: in an object store each is a request."""

    def name(self, path: str) -> str:
        """Return the absolute path or URL as people write it, without credentials."""
        ...

    def title(self, path: str) -> str:
        """Return the path without credentials."""
        return path

    def real(self, path: str) -> str:
        """Return the path without links."""
        return path

    def pattern_text(self, path: str) -> str:
        """Return the part of `path` in which `*`, `?` and `[` form a pattern."""
        return path

    def file_text(self, path: str) -> str:
        """Return the part of `path` whose suffix tells the file's format."""
        return path

    def is_folder(self, path: str) -> bool:
        """Return whether `path` is a folder; in an object store, whether any object has this prefix."""
        ...

    def list(self, folder: str, is_wanted: Callable[[str], bool] = any_path) -> Listing:
        """List one folder; a missing folder is empty. Only files whose path `is_wanted` are looked at."""
        ...

    def look(self, path: str) -> StoredFile | None:
        """Return one file, or None if it does not exist."""
        ...

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        """Open a file for reading; `ahead` fetches the next block in the background."""
        ...

    def publish(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a local file that appears at `path` when the block ends, and never after an error."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; a missing file is not an error."""
        ...
