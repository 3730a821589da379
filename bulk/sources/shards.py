"""WebDataset tars: a part is one tar, read from front to back and never unpacked."""

from collections.abc import Iterator
from typing import IO

from bulk.errors import CorruptShard, RowError
from bulk.job import Columns
from bulk.sources import archives
from bulk.sources.files import Listed
from bulk.sources.members import Samples
from bulk.sources.sample import MAX_BYTES, Sample, failing, unreadable
from bulk.work_unit import WorkUnit, slot_name
from common.storage import FileStore
from common.webdataset import ShardReader, split

ENDINGS = archives.ENDINGS


def tar_units(files: Listed, source: str) -> Iterator[WorkUnit]:
    """A part for each of `files`, all of them tars. Its shard has one name by whatever pattern the tar is found."""
    root = files.root
    for file in files:
        title = split(file.title.removeprefix(root))[0]
        yield WorkUnit("webdataset", source, root, slot_name("webdataset", title, files.store.name(file.path)), (file,))


def read_tar(unit: WorkUnit, store: FileStore, columns: Columns, *, whole: bool) -> Iterator[Sample]:
    """The samples of a tar, in order; of those the other members too if `whole`.

    What cannot be read any more is one last sample that fails.
    """
    path = unit.files[0].path
    source = store.name(path)
    try:
        with store.open(path, ahead=True) as file:
            yield from _samples(file, Samples(source, columns.expected, whole=whole))
    except RowError as error:
        yield Sample("", source, failing(error))
    except Exception as error:  # Stores' clients raise what they like.
        yield Sample("", source, failing(unreadable("the tar cannot be read from here on", error)))


def _samples(file: IO[bytes], samples: Samples) -> Iterator[Sample]:
    """Yield what can be read, and then raise why there is no more.

    Raises:
        RowError: the store failed, or the tar is damaged.
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
        raise CorruptShard(f"the tar cannot be read from here on: {error}") from error
    yield from samples.finish()
