"""What is checked before a run begins: that SRC, DST and KEEP do not get into each other's way, and the columns."""

import pyarrow as pa

from bulk.errors import UsageError
from bulk.job import BulkJob, Columns
from bulk.sources.files import Files
from bulk.sources.rows import check_columns
from bulk.sources.source import Source
from common.storage import locate


def check_job(source: Source, job: BulkJob) -> None:
    """Raise where the job and SRC do not go together.

    Raises:
        UsageError: a folder lies where it would be read with another, or a column is asked of what has none.
        SourceError: the first Parquet file lacks a column, or it cannot be told which one holds the images.
    """
    _check_folders(source, job)
    _check_columns(source, job.columns)


def _check_folders(source: Source, job: BulkJob) -> None:
    if job.keep and _is_under(job.keep, job.target):
        raise UsageError(f"--keep {job.keep} lies in DST, whose readers would take the tars for tables")
    for name, url, kind in (("DST", job.target, "parquet"), ("--keep", job.keep, "webdataset")):
        if url and source.kind == kind and _reads(source.files, url, job):
            raise UsageError(f"{name} {url} lies where SRC does: the next run would look for images in it")


def _check_columns(source: Source, columns: Columns) -> None:
    if source.kind != "parquet" and (columns.image or columns.id):
        raise UsageError(f"--image-column and --id-column are of Parquet, and {source.url} holds {source.kind}")
    if source.kind == "images" and columns.expected:
        raise UsageError("--expected-column is of shards: image files have none; --expected is for all of them")
    if source.kind == "parquet":
        first = next((unit for unit in source.units() if not unit.files[0].fault), None)
        try:
            if first is not None:
                check_columns(source.files.store, first.files[0].path, columns)
        except (pa.ArrowException, OSError):
            return  # It becomes a row of the table that says so.


def _reads(files: Files, url: str, job: BulkJob) -> bool:
    store, path = locate(url, job.storage_options)
    # In two stores the same path is another one.
    return store.name(path) == files.store.name(path) and files.would_read(path)


def _is_under(inner: str, outer: str) -> bool:
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")
