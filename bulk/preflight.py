"""Checks before a run starts: SRC, DST and KEEP do not overlap, and the columns exist."""

from bulk.errors import SourceError, UsageError
from bulk.job import BulkJob, Columns
from bulk.sources.files import SourceFiles
from bulk.sources.rows import check_columns
from bulk.sources.source import Source
from common.storage import locate


def check_job(source: Source, job: BulkJob) -> None:
    """Check the job against SRC.

    Raises:
        UsageError: two of the folders overlap, or a column is given for a source without columns.
        SourceError: the first Parquet file lacks a column, or its image column is ambiguous.
    """
    _check_folders(source, job)
    _check_columns(source, job.columns)


def _check_folders(source: Source, job: BulkJob) -> None:
    if job.keep and _is_under(_real(job.keep, job), _real(job.target, job)):
        raise UsageError(f"--keep {job.keep} lies inside DST: readers of the table would also read the tars")
    for name, url, kind in (("DST", job.target, "parquet"), ("--keep", job.keep, "webdataset")):
        if url and source.kind == kind and _reads(source.files, url, job):
            raise UsageError(f"{name} {url} lies inside SRC: the next run would read it as input")


def _check_columns(source: Source, columns: Columns) -> None:
    if source.kind != "parquet" and (columns.image or columns.id):
        raise UsageError(f"--image-column and --id-column need a Parquet source, but {source.url} holds {source.kind}")
    for name, column in (("expected", columns.expected), ("source", columns.source)):
        if source.kind == "images" and column:
            raise UsageError(f"--{name}-column needs a Parquet or WebDataset source; use --{name} for image files")
    if source.kind == "parquet":
        first = next((unit for unit in source.units() if not unit.files[0].fault), None)
        try:
            if first is not None:
                check_columns(source.files.store, first.files[0].path, columns)
        except SourceError:
            raise
        except Exception:
            return  # The worker writes this error into the table.


def _reads(files: SourceFiles, url: str, job: BulkJob) -> bool:
    store, path = locate(url, job.storage_options)
    # The same path in another store is another file.
    return store.name(path) == files.store.name(path) and files.would_read(path)


def _real(url: str, job: BulkJob) -> str:
    store, path = locate(url, job.storage_options)
    return store.name(store.real(path))


def _is_under(inner: str, outer: str) -> bool:
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")
