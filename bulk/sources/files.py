"""The files that SRC names: those under a folder, those that match a pattern, or one."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bulk.part import Item
from bulk.places import Place
from bulk.sources.patterns import depth, expand_braces, fixed_folder, has_magic, matcher


@dataclass(frozen=True, slots=True)
class Files:
    """All files of SRC, hidden ones left out, in an order that depends on nothing but their paths.

    Args:
        place: where they lie.
        path: what SRC names in it.
        what: what that is.
    """

    place: Place
    path: str
    what: Literal["folder", "file", "pattern"]

    @classmethod
    def under(cls, place: Place, path: str) -> "Files":
        """Find out what `path` is. What has this very name wins over what it would mean as a pattern."""
        path = path.rstrip("/") or "/"
        if place.is_folder(path):
            return cls(place, path, "folder")
        return cls(place, path, "pattern" if place.look(path) is None else "file")

    @property
    def root(self) -> str:
        """The folder that ids are relative to."""
        if self.what == "folder":
            return self.path
        if self.what == "file":
            return self.path.rpartition("/")[0] or "/"
        return os.path.commonpath([fixed_folder(text) for text in expand_braces(self.path)]) or "/"

    def would_read(self, folder: str) -> bool:
        """Whether files in `folder`, or below it, may be among them."""
        if self.what == "folder":
            return f"{folder}/".startswith(f"{self.path.rstrip('/')}/")
        if self.what == "file":
            return False
        patterns = {text.rpartition("/")[0] for text in expand_braces(self.path)}
        return any(matcher(pattern).match(folder) for pattern in patterns)

    def __iter__(self) -> Iterator[Item]:
        """The files, listed while they are gone through. One that a pattern names and that is not there has no size.

        Raises:
            OSError: a folder cannot be listed.
        """
        if self.what == "folder":
            return _walk(self.place, self.path, None)
        if self.what == "file":
            return filter(None, [self.place.look(self.path)])
        return self._matching()

    def _matching(self) -> Iterator[Item]:
        named = _Named(self.place)
        for text in expand_braces(self.path):
            if has_magic(text):
                pattern = matcher(text)
                for item in _walk(self.place, fixed_folder(text), depth(text)):
                    if pattern.match(item.path):
                        yield item
            else:
                yield named.find(text)


class _Named:
    """Finds files by name. A folder is listed once for all names in it that follow each other."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = ""
        self._items: dict[str, Item] = {}

    def find(self, path: str) -> Item:
        folder = path.rpartition("/")[0]
        if folder != self._folder:
            self._items = {item.path: item for item in self._place.list(folder or "/").files}
            self._folder = folder
        return self._items.get(path) or Item(path, None, "")


def _walk(place: Place, folder: str, levels: int | None, above: tuple[str, ...] = ()) -> Iterator[Item]:
    listing = place.list(folder)
    for item in listing.files:
        if not _is_hidden(item.path):
            yield item
    if levels == 0:
        return
    # A link to a folder above it would be followed for ever.
    above = (*above, os.path.realpath(folder)) if place.is_local else above
    for inner in listing.folders:
        if not (_is_hidden(inner) or (place.is_local and os.path.realpath(inner) in above)):
            yield from _walk(place, inner, None if levels is None else levels - 1, above)


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")
