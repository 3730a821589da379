"""The files of SRC: all files of a folder, the matches of a pattern, or one file."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from bulk.sources.ignored import Ignored
from bulk.sources.patterns import Glob, expand_braces, fixed_folder, has_braces, has_magic, matcher
from bulk.sources.walk import Walk
from common.storage import FileStore, StoredFile, any_path


class FileListing(Protocol):
    """Files of one store, and the folder that image ids are relative to."""

    @property
    def store(self) -> FileStore: ...

    @property
    def root(self) -> str: ...

    def __iter__(self) -> Iterator[StoredFile]: ...


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """All files of SRC without hidden ones, in an order that depends on their paths alone.

    Args:
        store: the store that holds them.
        path: the path or pattern of SRC in the store.
        form: the kind of `path`.
    """

    store: FileStore
    path: str
    form: Literal["folder", "file", "pattern"]

    @classmethod
    def under(cls, store: FileStore, path: str) -> "SourceFiles":
        """Look up `path`; an existing file or folder takes precedence over a pattern."""
        path = path.rstrip("/") or "/"
        try:
            if store.is_folder(path):
                return cls(store, path, "folder")
            form: Literal["pattern", "file"] = "pattern" if store.look(path) is None else "file"
        except OSError:
            # A pattern need not be a valid name: its braces may be longer than one, or a web server refuses them.
            if not (has_magic(store.pattern_text(path)) or has_braces(path)):
                raise
            form = "pattern"
        return cls(store, path, form)

    @property
    def root(self) -> str:
        """The folder that image ids are relative to."""
        name = self.store.title(self.path)
        if self.form == "folder":
            return name
        if self.form == "file":
            return name.rpartition("/")[0] or "/"
        folders = {tuple(fixed_folder(text).split("/")) for text in expand_braces(name)}
        # `os.path.commonpath` would make one slash of the two in a URL.
        shared = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
        return "/".join(names[0] for names in shared) or "/"

    @property
    def is_spelled_out(self) -> bool:
        """Whether SRC names each file, with braces or alone."""
        return self.form == "file" or (self.form == "pattern" and not has_magic(self.store.pattern_text(self.path)))

    def would_read(self, folder: str) -> bool:
        """Return whether files in `folder` may be among them, also where one of both is a link."""
        if self.form == "file":
            return False
        if self.form == "folder":
            globs = [self._whole()]
        else:
            globs = list(map(Glob, {_any_name(text) for text in expand_braces(self.path)}))
        folders = (folder, self.store.real(folder))
        return any(
            glob.states_in(path, start)
            for glob in globs
            for start in (glob.folder, self.store.real(glob.folder))
            for path in folders
        )

    def _whole(self) -> Glob:
        return Glob(f"{self.path.rstrip('/')}/**", self.path)

    def __iter__(self) -> Iterator[StoredFile]:
        """List the files without counting ignored entries."""
        return self.listed(Ignored())

    def listed(self, ignored: Ignored, is_wanted: Callable[[str], bool] = any_path) -> Iterator[StoredFile]:
        """List the files lazily. A missing file that a brace pattern names has no size.

        Ignored entries are counted in `ignored`; unreadable ones have a fault. Only files whose path `is_wanted` are
        looked at.

        Raises:
            OSError: the first folder cannot be listed.
            UsageError: a pattern is invalid.
        """
        if self.form == "folder":
            return iter(Walk(self.store, self._whole(), ignored, is_wanted))
        if self.form == "file":
            return filter(None, [self.store.look(self.path)] if is_wanted(self.path) else [])
        return self._matching(ignored, is_wanted)

    def _is_file(self, text: str) -> bool:
        """Return whether a file has this name, although its brackets look like a pattern."""
        if text == self.path or {"*", "?"} & set(self.store.pattern_text(text)):
            return False  # To ask a store about each of a thousand patterns would take minutes.
        try:
            return self.store.look(text) is not None
        except OSError:
            return False

    def _matching(self, ignored: Ignored, is_wanted: Callable[[str], bool]) -> Iterator[StoredFile]:
        named, before = _FilesByName(self.store), _EarlierMatches()

        def is_new(path: str) -> bool:
            return path not in before and is_wanted(path)

        for text in expand_braces(self.path):
            if has_magic(self.store.pattern_text(text)) and not self._is_file(text):
                yield from Walk(self.store, Glob(text), ignored, is_new)
                before.patterns.append((fixed_folder(text), matcher(text)))
            elif is_new(text):
                before.names.add(text)
                yield named.find(text)


def _any_name(pattern: str) -> str:
    """Replace the last component by one that matches any file: patterns for many names then are one."""
    folder, _, name = pattern.rpartition("/")
    return f"{folder}/{'**' if name == '**' else '*'}"


class _EarlierMatches:
    """The matches of earlier patterns of SRC, so that a file that matches two of them is judged once."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.patterns: list[tuple[str, re.Pattern[str]]] = []

    def __contains__(self, path: str) -> bool:
        return path in self.names or any(
            # A walk passes over hidden names, which another part of SRC may give.
            pattern.match(path) and "/." not in path.removeprefix(folder)
            for folder, pattern in self.patterns
        )


class _FilesByName:
    """Finds files by name, and lists a folder once for consecutive names in it."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._folder = ""
        self._files: dict[str, StoredFile] = {}

    def find(self, path: str) -> StoredFile:
        folder = path.rpartition("/")[0]
        if folder != self._folder and self._store.lists_cheaply:
            self._files = {file.path: file for file in self._list(folder or "/")}
            self._folder = folder
        return self._files.get(path) or self._look(path) or StoredFile(path, None, "", name=self._store.title(path))

    def _list(self, folder: str) -> Iterable[StoredFile]:
        try:
            return self._store.list(folder).files
        except OSError:  # Named files can be read without listing their folder.
            return ()

    def _look(self, path: str) -> StoredFile | None:
        try:
            return self._store.look(path)
        except OSError:  # Reading it later reports the error in its row.
            return None
