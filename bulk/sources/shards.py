"""WebDataset tars: a unit is one tar, streamed and never unpacked."""

from collections.abc import Iterator
from typing import IO

from bulk.errors import CorruptShard, RowError
from bulk.job import Columns
from bulk.sources import archives
from bulk.sources.files import FileListing
from bulk.sources.members import MAX_MEMBERS, Samples
from bulk.sources.sample import MAX_BYTES, Sample, failing, unreadable
from bulk.work_unit import WorkUnit, slot_name
from common.storage import FileStore
from common.webdataset import ShardReader, split_name

ENDINGS = archives.ENDINGS


def tar_units(files: FileListing, source: str) -> Iterator[WorkUnit]:
    """Yield a unit for each of `files`, all of them tars. Its shard's name does not depend on the pattern in SRC."""
    root = files.root
    for file in files:
        title = split_name(file.title.removeprefix(root))[0]
        slot = slot_name("webdataset", title, files.store.name(file.path))
        yield WorkUnit(kind="webdataset", source=source, root=root, slot=slot, files=(file,))


def read_tar(
    unit: WorkUnit, store: FileStore, columns: Columns, *, whole: bool, max_members: int = MAX_MEMBERS
) -> Iterator[Sample]:
    """Yield the samples of a tar in order, with their other members if `whole`.

    An unreadable rest becomes one last sample with an error.
    """
    path = unit.files[0].path
    source = store.name(path)
    try:
        with store.open(path, ahead=True) as file:
            yield from _samples(file, Samples(source, columns, whole=whole, max_members=max_members))
    except RowError as error:
        yield Sample("", source, failing(error))
    except Exception as error:  # Clients of stores share no base exception.
        yield Sample("", source, failing(unreadable("the tar cannot be read from here on", error)))


def _samples(file: IO[bytes], samples: Samples) -> Iterator[Sample]:
    """Yield the readable samples.

    Raises:
        RowError: after the samples, if the store failed or the tar is damaged.
    """
    reader = ShardReader(MAX_BYTES)
    try:
        for piece in archives.pieces(file):
            for event in reader.feed(piece):
                yield from samples.take(event)
        reader.close()
    except RowError:
        yield from samples.finish(is_cut=True)
        raise
    except archives.DAMAGES as error:
        yield from samples.finish(is_cut=True)
        raise CorruptShard(f"the tar cannot be read from here on: {archives.reason(error)}") from error
    yield from samples.finish()
