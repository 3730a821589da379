"""SRC: detect its format and open it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from bulk.errors import SourceError
from bulk.job import Columns
from bulk.sources import images, rows, shards
from bulk.sources.files import FileListing, SourceFiles
from bulk.sources.ignored import Ignored, describe_ignored
from bulk.sources.patterns import has_magic
from bulk.sources.sample import Sample
from bulk.sources.selection import SelectedFiles, fault_units, read_faults
from bulk.work_unit import SourceKind, WorkUnit
from common.storage import FileStore, locate
from gate.header import IMAGE_ENDINGS

_ENDINGS: Mapping[SourceKind, tuple[str, ...]] = {
    "images": IMAGE_ENDINGS,
    "webdataset": shards.ENDINGS,
    "parquet": rows.ENDINGS,
}
_UNITS: Mapping[SourceKind, Callable[[FileListing, str], Iterator[WorkUnit]]] = {
    "images": images.image_units,
    "webdataset": shards.tar_units,
    "parquet": rows.row_units,
}
# Files with a known suffix that are examined to detect the format of SRC.
_LOOK = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the images.

    Args:
        kind: its format.
        url: SRC with an absolute path, as in `WorkUnit.source`.
        files: all its files, of any format.
        is_kind_given: whether the user named the format; then a single file is read whatever its suffix.
        outputs: the folders that a run writes to, and the format of their files.
    """

    kind: SourceKind
    url: str
    files: SourceFiles
    is_kind_given: bool = False
    outputs: Mapping[str, SourceKind] = field(default_factory=dict)

    def units(self, ignored: Ignored | None = None) -> Iterator[WorkUnit]:
        """List all units lazily, in an order that depends on the file names alone.

        Ignored files are counted in `ignored`. Entries that cannot be read form the last units.

        Raises:
            OSError: the first folder cannot be listed.
        """
        counted = Ignored() if ignored is None else ignored
        # A single file is meant, wherever it lies.
        outputs = {} if self.files.form == "file" else self.outputs
        ours = {folder: kind for folder, kind in outputs.items() if kind == self.kind}
        written_to = lru_cache(partial(_written_to, self.files.store, outputs=ours))
        selected = SelectedFiles(
            self.files,
            self.kind,
            _ENDINGS[self.kind],
            counted,
            is_forced=self.is_kind_given,
            is_output=lambda folder: bool(written_to(folder)),
        )
        yield from _UNITS[self.kind](selected, self.url)
        yield from fault_units(selected.faults, self.kind, self.url, self.files.root)


def open_source(
    url: str,
    options: Mapping[str, Any],
    *,
    kind: SourceKind | None = None,
    outputs: Mapping[str, SourceKind] | None = None,
) -> Source:
    """Open SRC and detect its format unless `kind` is given.

    A run writes one format into each folder of `outputs`; such files decide the format only if there are no others.

    Raises:
        SourceError: SRC holds no images, or files of several formats.
        UrlError: the URL is invalid.
        OSError: SRC cannot be listed.
    """
    store, path = locate(url, options)
    files = SourceFiles.under(store, path)
    name = store.name(files.path)
    chosen = kind or _find_kind(files, name, outputs or {})
    return Source(chosen, name, files, is_kind_given=kind is not None, outputs=outputs or {})


def read_unit(unit: WorkUnit, store: FileStore, columns: Columns, *, whole: bool) -> Iterator[Sample]:
    """Yield the samples of a unit in order; samples of a tar include their other members if `whole`.

    Unreadable data becomes a sample with an error, never an exception.
    """
    if unit.files[0].fault:
        return read_faults(unit, store)
    match unit.kind:
        case "images":
            return images.read_images(unit, store)
        case "webdataset":
            return shards.read_tar(unit, store, columns, whole=whole)
        case "parquet":
            return rows.read_rows(unit, store, columns)


def _find_kind(files: SourceFiles, url: str, outputs: Mapping[str, SourceKind]) -> SourceKind:
    """Detect the format from the first files, or from the first one with a known suffix among many others."""
    present: set[SourceKind] = set()
    written: set[SourceKind] = set()  # Of files that an earlier run wrote.
    written_to = lru_cache(partial(_written_to, files.store, outputs=outputs))
    ignored = Ignored()

    def is_known(path: str) -> bool:
        name = files.store.file_text(path).rpartition("/")[2]
        known = bool(_kinds_of(name))
        if not known:
            ignored.add_file(name)
        return known

    for number, file in enumerate(files.listed(ignored, is_known)):
        folder, _, name = files.store.file_text(file.path).rpartition("/")
        kinds = _kinds_of(name)
        ours = kinds & written_to(folder)
        written |= ours
        present |= kinds - ours
        if present and number >= _LOOK:
            break
    present = present or written
    if not present:
        raise SourceError(_explain_empty(files, url, ignored))
    if len(present) > 1:
        raise SourceError(f"{url} holds {' and '.join(sorted(present))}: select one with --format")
    return present.pop()


def _kinds_of(name: str) -> set[SourceKind]:
    return {kind for kind, endings in _ENDINGS.items() if name.lower().endswith(endings)}


def _explain_empty(files: SourceFiles, url: str, ignored: Ignored) -> str:
    """Say that no image was found, and what counts as one."""
    endings = " ".join(itertools.chain(*_ENDINGS.values()))
    if files.form == "file":
        return (
            f"{url} has none of the suffixes {endings}: give --format if it is such a file; unpack other archives first"
        )
    named = None if has_magic(files.path) else next(iter(files), None)
    if named is not None and named.fault == "not_a_file":
        return f"{url} is {named.detail}; write its bytes into a file first"
    if named is not None and named.path == files.path and named.size is None:
        return f"{url} does not exist"
    there = f" ({describe_ignored(ignored.counts)})" if ignored.counts else ""
    return f"{url} is not a file, and holds no file with one of the suffixes {endings}{there}"


def _written_to(store: FileStore, folder: str, *, outputs: Mapping[str, SourceKind]) -> frozenset[SourceKind]:
    """Return the formats that a run writes into a folder."""
    name = store.name(folder)
    return frozenset(
        kind for output, kind in outputs.items() if output == name or (store.is_local and _is_same(folder, output))
    )


def _is_same(folder: str, output: str) -> bool:
    try:
        return Path(folder).samefile(output)
    except OSError:  # One is not there yet, or in another store.
        return False
