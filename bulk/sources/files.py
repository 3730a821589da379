"""The files that SRC names: those under a folder, those that match a pattern, or one."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from bulk.sources.ignored import Ignored
from bulk.sources.patterns import Glob, expand_braces, fixed_folder, has_magic, matcher
from bulk.sources.walk import Walk
from common.storage import FileStore, StoredFile


class Listed(Protocol):
    """Files that parts are made of, and the folder that their ids are relative to."""

    @property
    def store(self) -> FileStore: ...

    @property
    def root(self) -> str: ...

    def __iter__(self) -> Iterator[StoredFile]: ...


@dataclass(frozen=True, slots=True)
class Files:
    """All files of SRC, hidden ones left out, in an order that depends on nothing but their paths.

    Args:
        store: the store that holds them.
        path: what SRC names in it.
        what: what that is.
    """

    store: FileStore
    path: str
    what: Literal["folder", "file", "pattern"]

    @classmethod
    def under(cls, store: FileStore, path: str) -> "Files":
        """Find out what `path` is. What has this very name wins over what it would mean as a pattern."""
        path = path.rstrip("/") or "/"
        if store.is_folder(path):
            return cls(store, path, "folder")
        return cls(store, path, "pattern" if store.look(path) is None else "file")

    @property
    def root(self) -> str:
        """The folder that ids are relative to."""
        if self.what == "folder":
            return self.path
        name = self.store.title(self.path)
        if self.what == "file":
            return name.rpartition("/")[0] or "/"
        return os.path.commonpath([fixed_folder(text) for text in expand_braces(name)]) or "/"

    def would_read(self, folder: str) -> bool:
        """Whether files in `folder`, or below it, may be among them."""
        if self.what == "folder":
            return f"{folder}/".startswith(f"{self.path.rstrip('/')}/")
        if self.what == "file":
            return False
        patterns = {text.rpartition("/")[0] for text in expand_braces(self.path)}
        return any(matcher(pattern).match(folder) for pattern in patterns)

    def __iter__(self) -> Iterator[StoredFile]:
        """As `listed`, with nobody told of what is ignored."""
        return self.listed(Ignored())

    def listed(self, ignored: Ignored) -> Iterator[StoredFile]:
        """The files, listed while they are gone through. One that a pattern names and that is not there has no size.

        Entries that are ignored are counted in `ignored`; those that cannot be read have a fault.

        Raises:
            OSError: the first folder cannot be listed.
            UsageError: a pattern is not valid.
        """
        if self.what == "folder":
            return iter(Walk(self.store, Glob(f"{self.path.rstrip('/')}/**", self.path), ignored))
        if self.what == "file":
            return filter(None, [self.store.look(self.path)])
        return self._matching(ignored)

    def _matching(self, ignored: Ignored) -> Iterator[StoredFile]:
        named, before = _Named(self.store), _Before()
        for text in expand_braces(self.path):
            if has_magic(self.store.pattern_text(text)):
                for file in Walk(self.store, Glob(text), ignored):
                    if file.path not in before:
                        yield file
                before.patterns.append(matcher(text))
            elif text not in before:
                before.names.add(text)
                yield named.find(text)


class _Before:
    """What earlier patterns of one SRC name: a file that two of them name is judged once."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.patterns: list[re.Pattern[str]] = []

    def __contains__(self, path: str) -> bool:
        return path in self.names or any(pattern.match(path) for pattern in self.patterns)


class _Named:
    """Finds files by name. A folder is listed once for all names in it that follow each other."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._folder = ""
        self._files: dict[str, StoredFile] = {}

    def find(self, path: str) -> StoredFile:
        folder = path.rpartition("/")[0]
        if folder != self._folder:
            self._files = {file.path: file for file in self._list(folder or "/")}
            self._folder = folder
        return self._files.get(path) or self._look(path) or StoredFile(path, None, "", name=self._store.title(path))

    def _list(self, folder: str) -> Iterable[StoredFile]:
        try:
            return self._store.list(folder).files
        except OSError:  # Of files whose names are known the folder need not be listed.
            return ()

    def _look(self, path: str) -> StoredFile | None:
        try:
            return self._store.look(path)
        except OSError:  # Its row says why when it is read.
            return None
