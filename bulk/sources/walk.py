"""Walk a folder tree; visit each real folder once and continue past folders that cannot be listed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bulk.sources.ignored import Ignored
from bulk.sources.patterns import Glob, States
from common.storage import FileStore, StoredFile, any_path


class Walk:
    """The files that match a glob and whose paths are wanted, in an order that depends on their names alone.

    Hidden names are counted in `ignored`. A folder that cannot be listed is yielded with a fault. Links to folders are
    followed; a folder with several paths is walked once, by its real path if that lies below the glob's fixed folder,
    otherwise by the first path found.
    """

    def __init__(
        self, store: FileStore, glob: Glob, ignored: Ignored, is_wanted: Callable[[str], bool] = any_path
    ) -> None:
        self._store, self._glob, self._ignored, self._is_wanted = store, glob, ignored, is_wanted
        self._seen: set[tuple[int, int, States]] = set()
        self._root = store.real(glob.folder)

    def __iter__(self) -> Iterator[StoredFile]:
        """Yield the files.

        Raises:
            OSError: the fixed folder itself cannot be listed.
        """
        # A stack instead of recursion: a tree may be thousands of folders deep.
        waiting = [(self._glob.folder, self._glob.start)]
        while waiting:
            folder, states = waiting.pop()
            if not self._enters(folder, states):
                continue
            try:
                listing = self._store.list(folder, partial(self._is_found, states=states))
            except OSError as error:
                if folder == self._glob.folder:
                    raise
                reason = error.strerror or str(error)
                yield StoredFile(
                    folder, None, "", fault="unreadable_folder", detail=f"the folder cannot be listed: {reason}"
                )
                continue
            yield from listing.files
            waiting += reversed(list(self._inner(listing.folders, states)))

    def _is_found(self, path: str, states: States) -> bool:
        name = _name(path)
        if not self._glob.is_match(self._glob.step(states, name)):
            return False
        if name.startswith("."):
            self._ignored.add("hidden files")
            return False
        return self._is_wanted(path)

    def _inner(self, folders: Sequence[str], states: States) -> Iterator[tuple[str, States]]:
        for folder in folders:
            name = _name(folder)
            after = self._glob.step(states, name)
            if not after:
                continue
            if name.startswith("."):
                self._ignored.add("hidden folders")
            elif inside := self._glob.descend(after):
                yield folder, inside
            else:
                # The glob matches the folder itself, not its entries.
                self._ignored.add("folders")

    def _enters(self, folder: str, states: States) -> bool:
        if not self._store.is_local:
            return True
        if folder != self._glob.folder and Path(folder).is_symlink() and self._is_walked_elsewhere(folder, states):
            return False
        try:
            state = Path(folder).stat()
        except OSError:  # Listing it reports the error.
            return True
        key = (state.st_dev, state.st_ino, states)
        # Some network file systems have no inode numbers.
        if state.st_ino and key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _is_walked_elsewhere(self, link: str, states: States) -> bool:
        """Return whether the walk also reaches the link's target by its real path, with the same matches."""
        return self._glob.states_in(self._store.real(link), self._root) == states


def _name(path: str) -> str:
    return path.rpartition("/")[2]
