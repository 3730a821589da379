"""Parquet data sets: a unit is one row group, or a whole file whose row groups could not be listed."""

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk.errors import CorruptShard, FileTooLarge, InvalidSource, MissingImage, SourceError
from bulk.job import Columns
from bulk.sources.expected_column import ExpectedColumn
from bulk.sources.files import FileListing
from bulk.sources.sample import MAX_BYTES, PartReader, Sample, failing, key_of, plain_value, read_source, unreadable
from bulk.work_unit import WorkUnit, slot_name
from common.storage import FileStore, StoredFile
from gate import Label

ENDINGS = (".parquet", ".parq")

# For images of a megabyte each. Arrow reads a whole page at a time, whose size its writer chose.
_BATCH_ROWS = 16
_BUFFER_BYTES = 2**20
_ID, _IMAGE, _BYTES = "id", "image", "bytes"

_PARTITION = ": only folders have it, so judge each of them alone, with --expected or --source"
"""The cure of a column that Spark or pandas moved into the names of folders, as in `label=glasses`."""

_WITHOUT_RANGES = ("support range requests", "seek streaming HTTP file")
"""Texts in the errors of fsspec for a web server that sends files only as a whole."""

_NO_RANGES = "its web server supports no ranges, which Parquet needs: copy it to a disk or an object store"


def row_units(files: FileListing, source: str) -> Iterator[WorkUnit]:
    """Yield a unit for each row group of `files`, and one for a file without row groups or that cannot be read."""
    root = files.root
    for file in files:
        title = file.title.removeprefix(root).rpartition(".")[0]
        counts = _row_counts(files.store, file)
        for number, rows in enumerate(counts or [0]):
            slot = slot_name("parquet", f"{title}-{number:04d}", files.store.name(file.path), str(number))
            group = number if counts else None
            yield WorkUnit(
                kind="parquet", source=source, root=root, slot=slot, files=(file,), row_group=group, images=rows
            )


def read_rows(unit: WorkUnit, store: FileStore, columns: Columns) -> Iterator[Sample]:
    """Yield the rows of a unit in order. An unreadable rest becomes one last sample with an error."""
    path = unit.files[0].path
    source = store.name(path)
    try:
        with _opened(store, path) as file:
            rows = _Rows(file, source, columns)
            groups = range(file.num_row_groups) if unit.row_group is None else [unit.row_group]
            for group in groups:
                yield from rows.samples(group)
    except (pa.ArrowException, SourceError) as error:
        yield Sample("", source, failing(CorruptShard(f"the row group cannot be read from here on: {error}")))
    except Exception as error:  # Clients of stores share no base exception, and Arrow raises OSError for damage too.
        fault = OSError(_NO_RANGES) if any(text in str(error) for text in _WITHOUT_RANGES) else error
        yield Sample("", source, failing(unreadable("the row group cannot be read from here on", fault)))


def check_columns(store: FileStore, path: str, columns: Columns) -> None:
    """Check `columns` against this file.

    Raises:
        SourceError: a column is missing, or the image column is ambiguous.
        Exception: the file cannot be read; Arrow and the clients of stores share no base exception.
    """
    with _opened(store, path) as file:
        _Rows(file, path, columns)


class _Rows:
    """The selected columns of one file."""

    def __init__(self, file: pq.ParquetFile, source: str, columns: Columns) -> None:
        schema = file.schema_arrow
        self._file = file
        self._source = source
        self._image = _image_column(schema, columns.image)
        self._id = columns.id or _find_name(schema.names, _ID)
        self._source_column = columns.source
        for name in filter(None, (self._image, self._id, columns.expected, columns.source)):
            if name not in schema.names:
                cure = _PARTITION if f"/{name}=" in source else ""
                raise SourceError(f"{source} has no column {name!r}, only {', '.join(schema.names)}{cure}")
            if schema.names.count(name) > 1:
                raise SourceError(f"{source} has more than one column {name!r}: rename them")
        self._expected = ExpectedColumn(schema, columns.expected, source) if columns.expected else None

    def samples(self, group: int) -> Iterator[Sample]:
        metadata = self._file.metadata
        first = number = sum(metadata.row_group(before).num_rows for before in range(group))
        expected = self._expected and self._expected.name
        columns = (self._image, self._id, expected, self._source_column)
        names = list(dict.fromkeys(name for name in columns if name is not None))
        # Arrow's threads may release the file of a store after the interpreter has ended, which aborts the process.
        for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
            images = _bytes_of(batch.column(self._image))
            for row in range(batch.num_rows):
                yield self._sample(images[row], batch, row, number)
                number += 1
        # Arrow ends without an error at some kinds of damage.
        if number - first < (rows := metadata.row_group(group).num_rows):
            raise pa.ArrowInvalid(f"it has {rows:,} rows, of which {number - first:,} can be read")
        if group == metadata.num_row_groups - 1 and number < metadata.num_rows:
            raise pa.ArrowInvalid(f"the file has {metadata.num_rows:,} rows, and its row groups {number:,}")

    def _sample(self, image: pa.Scalar, batch: pa.RecordBatch, row: int, number: int) -> Sample:
        parts = PartReader()
        name = parts.read(lambda: self._name(batch, row)) or str(number)
        data = parts.read(lambda: _data(image))
        expected = parts.read(lambda: self._requested(batch, row))
        named = parts.read(lambda: self._named_source(batch, row))
        return Sample(
            name,
            self._source,
            parts.fetch(data),
            len(data or b""),
            key=key_of(name),
            expected=expected,
            named_source=named,
        )

    def _requested(self, batch: pa.RecordBatch, row: int) -> Label | None:
        return self._expected.read(batch.column(self._expected.name)[row]) if self._expected else None

    def _named_source(self, batch: pa.RecordBatch, row: int) -> str | None:
        if self._source_column is None:
            return None
        return read_source(plain_value(batch.column(self._source_column)[row], self._source_column, InvalidSource))

    def _name(self, batch: pa.RecordBatch, row: int) -> str | None:
        if self._id is None:
            return None
        value = plain_value(batch.column(self._id)[row], self._id, CorruptShard)
        return None if value is None else str(value)


@contextlib.contextmanager
def _opened(store: FileStore, path: str) -> Iterator[pq.ParquetFile]:
    # Arrow reads a path without the GIL, but accepts UTF-8 paths only.
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(store.open(path))  # Refuses a FIFO, which would block Arrow forever.
        source = path if store.is_local and _is_unicode(path) else opened
        yield stack.enter_context(
            pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
        )


def _is_unicode(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row_counts(store: FileStore, file: StoredFile) -> list[int]:
    """Return the rows of each row group; none for an unreadable file, whose worker tries again."""
    try:
        with _opened(store, file.path) as opened:
            metadata = opened.metadata
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    except Exception:  # Arrow and the clients of stores share no base exception.
        return []


def _image_column(schema: pa.Schema, name: str | None) -> str:
    """Return the given column, the one named `image` in any case, or the only column with bytes."""
    filled: list[str] = [field.name for field in schema if _holds_bytes(field.type)]
    # Without an image in a file its column has no type.
    empty: list[str] = [field.name for field in schema if _is_untyped(field.type)]
    if name is not None:
        if name not in [*filled, *empty]:
            raise SourceError(f"the column {name!r} holds no bytes; columns with bytes: {', '.join(filled) or 'none'}")
        return name
    if found := _find_name([*filled, *empty], _IMAGE):
        return found
    if len(filled or empty) == 1:
        return (filled or empty)[0]
    if filled:
        raise SourceError(f"select the column of images with --image-column: {', '.join(filled)}")
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "it has no column"
    raise SourceError(f"no column holds the bytes of one image in each row, as bytes or {{bytes, path}}: {columns}")


def _find_name(names: Sequence[str], wanted: str) -> str | None:
    """Return the column with this name, otherwise the only one in another case: Snowflake writes capitals."""
    alike = [name for name in names if name.lower() == wanted]
    return wanted if wanted in alike else alike[0] if len(alike) == 1 else None


def _holds_bytes(kind: pa.DataType) -> bool:
    kind = _inner(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_untyped(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(_inner(kind)))


def _inner(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary, and of the bytes in Hugging Face's layout."""
    if pa.types.is_dictionary(kind):
        return _inner(kind.value_type)
    if pa.types.is_struct(kind) and kind.get_field_index(_BYTES) >= 0:
        return _inner(kind.field(_BYTES).type)
    return kind


def _bytes_of(column: pa.Array) -> pa.Array:
    data = pc.struct_field(column, _BYTES) if pa.types.is_struct(column.type) else column
    return data.dictionary_decode() if pa.types.is_dictionary(data.type) else data


def _data(image: pa.Scalar) -> bytes:
    if not image.is_valid:
        raise MissingImage("the row's image is null; only embedded bytes are read, not files that a path names")
    size = image.as_buffer().size
    if size > MAX_BYTES:
        raise FileTooLarge(f"{size:,} bytes: at most {MAX_BYTES:,} are read of an image")
    data: bytes = image.as_py()
    return data
