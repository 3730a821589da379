"""Select the files of one format; count the others, and make rows of unreadable entries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bulk.errors import NotAFile, RowError, UnreadableFolder
from bulk.sources.files import SourceFiles
from bulk.sources.ignored import Ignored
from bulk.sources.sample import Sample, failing
from bulk.work_unit import SourceKind, WorkUnit, slot_name
from common.storage import FileStore, StoredFile
from common.storage.types import EntryFault
from common.webdataset import distinct_path

# Rows of one unit of faults.
_MAX_ROWS = 512
_ERRORS: dict[EntryFault, type[RowError]] = {"unreadable_folder": UnreadableFolder, "not_a_file": NotAFile}


@dataclass(slots=True)
class SelectedFiles:
    """The files of a `kind`, by their `endings`; with `is_forced` a single file of SRC, whatever its suffix.

    Iterating counts other files in `ignored` and collects unreadable entries in `faults`. So it counts the files of a
    folder that `is_output`, which a link in SRC may lead to: the run wrote them.
    """

    files: SourceFiles
    kind: SourceKind
    endings: tuple[str, ...]
    ignored: Ignored
    is_forced: bool = False
    is_output: Callable[[str], bool] = lambda _: False
    faults: list[StoredFile] = field(default_factory=list)
    root: str = field(init=False)
    """The folder that image ids are relative to."""

    def __post_init__(self) -> None:
        self.root = self.files.root  # Once: it expands the braces of a pattern, and each file is compared with it.

    @property
    def store(self) -> FileStore:
        """The store that holds the files."""
        return self.files.store

    def __iter__(self) -> Iterator[StoredFile]:
        """List the files.

        Raises:
            OSError: the first folder cannot be listed.
        """
        for file in self.files.listed(self.ignored, self._is_wanted):
            if file.fault == "unreadable_folder":
                self.ignored.unlisted.append(self.store.name(file.path))
            if file.fault:
                self.faults.append(file)
            else:
                yield file

    def _is_wanted(self, path: str) -> bool:
        """Return whether a file is wanted by its path; count it as ignored otherwise."""
        folder, _, name = self.store.file_text(path).rpartition("/")
        is_named = self.is_forced and (self.files.form == "file" or path == self.files.path)
        if not (is_named or name.lower().endswith(self.endings)):
            self.ignored.add_file(name)
        elif self.is_output(folder):
            self.ignored.add("files of this run's output")
        elif self.kind == "parquet" and not self.files.is_spelled_out and self._is_private(path):
            self.ignored.add("names that begin with _")
        else:
            return True
        return False

    def _is_private(self, path: str) -> bool:
        """Return whether readers of data sets skip a file by its name or a folder of it, such as Spark's `_temporary`.

        Names with `=` are values of a partition.
        """
        names = self.store.title(path).removeprefix(self.root).split("/")
        return any(name.startswith("_") and "=" not in name for name in names)


def fault_units(faults: list[StoredFile], kind: SourceKind, source: str, root: str) -> Iterator[WorkUnit]:
    """Yield separate units for unreadable entries, so that the units of readable files do not depend on them."""
    for number, start in enumerate(range(0, len(faults), _MAX_ROWS)):
        slot = slot_name(kind, f"unreadable-{number:04d}", source, "unreadable", str(number))
        files = tuple(faults[start : start + _MAX_ROWS])
        rows = len(files) if kind != "webdataset" else 0
        yield WorkUnit(kind=kind, source=source, root=root, slot=slot, files=files, images=rows)


def read_faults(unit: WorkUnit, store: FileStore) -> Iterator[Sample]:
    """Yield a sample with an error for each entry of a unit of faults."""
    for file in unit.files:
        name = file.title.removeprefix(unit.root).lstrip("/")
        folder = store.name(file.path).rpartition("/")[0] or "/"
        if file.fault is not None:
            name += "/" if file.fault == "unreadable_folder" else ""
            yield Sample(distinct_path(name), folder, failing(_ERRORS[file.fault](file.detail)))
