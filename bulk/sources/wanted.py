"""The files of one kind out of all that SRC holds; the others are counted, and odd entries become rows of their own."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bulk.errors import NotAFile, RowError, UnreadableFolder
from bulk.sources.files import Files
from bulk.sources.ignored import Ignored
from bulk.sources.sample import Sample, failing
from bulk.work_unit import SourceKind, WorkUnit, slot_name
from common.storage import FileStore, StoredFile
from common.storage.types import EntryFault

# Rows of one part of faults.
_MOST = 512
_ERRORS: dict[EntryFault, type[RowError]] = {"unreadable_folder": UnreadableFolder, "not_a_file": NotAFile}


@dataclass(slots=True)
class Wanted:
    """The files of a `kind`, which end in one of `endings`; the file that SRC names if `is_forced`, however it ends.

    Iterating counts what is left out in `ignored`, and collects the entries that cannot be read in `faults`.
    """

    files: Files
    kind: SourceKind
    endings: tuple[str, ...]
    ignored: Ignored
    is_forced: bool = False
    faults: list[StoredFile] = field(default_factory=list)

    @property
    def store(self) -> FileStore:
        """Where the files lie."""
        return self.files.store

    @property
    def root(self) -> str:
        """The folder that ids are relative to."""
        return self.files.root

    def __iter__(self) -> Iterator[StoredFile]:
        """List them.

        Raises:
            OSError: the first folder cannot be listed.
        """
        for file in self.files.listed(self.ignored):
            name = self.store.file_text(file.path).rpartition("/")[2]
            if file.fault == "unreadable_folder":
                self.ignored.unlisted.append(self.store.name(file.path))
                self.faults.append(file)
            elif not self._is_wanted(name):
                self.ignored.add_file(name)
            elif self.kind == "parquet" and name.startswith("_"):  # Readers of data sets pass over such files.
                self.ignored.add("names that begin with _")
            elif file.fault:
                self.faults.append(file)
            else:
                yield file

    def _is_wanted(self, name: str) -> bool:
        return (self.is_forced and self.files.what == "file") or name.lower().endswith(self.endings)


def fault_units(faults: list[StoredFile], kind: SourceKind, source: str, root: str) -> Iterator[WorkUnit]:
    """Parts of the entries that cannot be read, by their own: those of readable files do not depend on them."""
    for number, start in enumerate(range(0, len(faults), _MOST)):
        slot = slot_name(kind, f"unreadable-{number:04d}", source, "unreadable", str(number))
        files = tuple(faults[start : start + _MOST])
        yield WorkUnit(kind, source, root, slot, files, images=len(files) if kind != "webdataset" else 0)


def read_faults(unit: WorkUnit, store: FileStore) -> Iterator[Sample]:
    """A sample that fails for each entry of a part of faults."""
    for file in unit.files:
        name = file.title.removeprefix(unit.root).lstrip("/")
        folder = store.name(file.path).rpartition("/")[0] or "/"
        if file.fault is not None:
            name += "/" if file.fault == "unreadable_folder" else ""
            yield Sample(name, folder, failing(_ERRORS[file.fault](file.detail)))
