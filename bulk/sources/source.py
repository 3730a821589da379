"""SRC: what the command was given, told apart and opened."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bulk.errors import SourceError
from bulk.job import Columns
from bulk.sources import images, rows, shards
from bulk.sources.files import Files, Listed
from bulk.sources.ignored import Ignored, describe
from bulk.sources.sample import Sample
from bulk.sources.wanted import Wanted, fault_units, read_faults
from bulk.work_unit import SourceKind, WorkUnit
from common.storage import FileStore, locate
from gate.header import IMAGE_ENDINGS

_ENDINGS: Mapping[SourceKind, tuple[str, ...]] = {
    "images": IMAGE_ENDINGS,
    "webdataset": shards.ENDINGS,
    "parquet": rows.ENDINGS,
}
_UNITS: Mapping[SourceKind, Callable[[Listed, str], Iterator[WorkUnit]]] = {
    "images": images.image_units,
    "webdataset": shards.tar_units,
    "parquet": rows.row_units,
}
# Files that are looked at to find out what SRC holds.
_LOOK = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """Where images come from.

    Args:
        kind: how it is read.
        url: SRC with its path made absolute: what `WorkUnit.source` says.
        files: all its files, of which those of its kind count.
        is_kind_given: whether the kind was said, so that one file that SRC names counts whatever it ends in.
    """

    kind: SourceKind
    url: str
    files: Files
    is_kind_given: bool = False

    def units(self, ignored: Ignored | None = None) -> Iterator[WorkUnit]:
        """All units, in an order that depends on nothing but the files' names; listed while they are gone through.

        What is left out is counted in `ignored`. Entries that cannot be read are parts too, the last ones.

        Raises:
            OSError: the first folder cannot be listed.
        """
        counted = Ignored() if ignored is None else ignored
        wanted = Wanted(self.files, self.kind, _ENDINGS[self.kind], counted, is_forced=self.is_kind_given)
        yield from _UNITS[self.kind](wanted, self.url)
        yield from fault_units(wanted.faults, self.kind, self.url, self.files.root)


def open_source(url: str, options: Mapping[str, Any], *, kind: SourceKind | None = None) -> Source:
    """Find out what SRC is; `kind` says it where files of several kinds lie together.

    Raises:
        SourceError: nothing that can be judged is there, or files of several kinds.
        UsageError: no URL.
        OSError: it cannot be listed.
    """
    store, path = locate(url, options)
    files = Files.under(store, path)
    name = store.name(files.path)
    return Source(kind or _find_kind(files, name), name, files, is_kind_given=kind is not None)


def read_unit(unit: WorkUnit, store: FileStore, columns: Columns, *, whole: bool) -> Iterator[Sample]:
    """The samples of a unit in order; of a tar with the other members too if `whole`.

    What cannot be read is a sample that fails, and never an exception.
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


def _find_kind(files: Files, url: str) -> SourceKind:
    """From the first files there are; of many others, from the first one that says it."""
    found: set[SourceKind] = set()
    ignored = Ignored()
    for number, file in enumerate(files.listed(ignored)):
        name = files.store.file_text(file.path).rpartition("/")[2]
        kinds = {kind for kind, endings in _ENDINGS.items() if name.lower().endswith(endings)}
        found |= kinds
        if not kinds and not file.fault:
            ignored.add_file(name)
        if found and number >= _LOOK:
            break
    if not found:
        endings = " ".join(itertools.chain(*_ENDINGS.values()))
        there = f" ({describe(ignored.counts)})" if ignored.counts else ""
        raise SourceError(f"{url}: there is no such file, and nothing in it that ends in one of {endings}{there}")
    if len(found) > 1:
        raise SourceError(f"{url} holds {' and '.join(sorted(found))}: say with --format which of them is meant")
    return found.pop()
