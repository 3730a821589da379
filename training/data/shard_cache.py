"""Read shards from a folder or from object storage, with a local cache for the latter.

TensorFlow cannot read S3, and a step reads the shards several times: for several splits, for every trial. Shards in
object storage are therefore copied once and parsed locally. The name of a shard changes with its images, so a copy of
equal name and length is valid; checksums are verified on every read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from common.errors import StorageError
from common.storage import AnyPath, StoragePath, write_atomically
from training.data.parallel_map import parallel_map
from training.data.shards import ShardRecord, read_shard
from training.errors import DamagedError, RecordsError

AHEAD = 8
"""Concurrent downloads, and the largest number of shards downloaded but not read yet."""


def read_images(records: AnyPath, shards: Mapping[str, int]) -> Iterator[ShardRecord]:
    """Yield all images of `shards`, which map names below `records` to lengths in bytes.

    Raises:
        RecordsError: a shard is missing, damaged, or has the wrong length.
        StorageError: the cache cannot be written, or the storage is unreachable.
    """
    try:
        with _files(records, shards) as files:
            for name, file in zip(shards, files, strict=True):
                yield from _read(records / name, file)
    except FileNotFoundError as error:
        raise RecordsError(
            f"{records} lacks shards that its manifest names: run `lensgate train prepare` again and wait for it to "
            "finish"
        ) from error


def forget(records: AnyPath, *, but: set[str]) -> None:
    """Delete cached shards that the records no longer contain."""
    if isinstance(records, StoragePath):
        kept = folder_of(records)
        # Files that another process is writing have another ending.
        for copy in kept.rglob("*.tfrecord"):
            if copy.relative_to(kept).as_posix() not in but:
                copy.unlink(missing_ok=True)


def folder_of(records: StoragePath) -> Path:
    """Return the cache folder of `records`, below `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        StorageError: there is neither.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise StorageError(f"no cache folder for copies of {records}: set XDG_CACHE_HOME") from error
    return cache / "lensgate/records" / hashlib.sha256(records.url.encode()).hexdigest()[:16]


def _files(records: AnyPath, shards: Mapping[str, int]) -> AbstractContextManager[Iterator[Path]]:
    if isinstance(records, Path):
        return nullcontext(_local(records / name, size) for name, size in shards.items())
    return parallel_map(partial(_fetch, records, folder_of(records)), shards.items(), threads=AHEAD, ahead=AHEAD)


def _local(shard: Path, size: int) -> Path:
    _expect(size, shard, shard.stat().st_size)
    return shard


def _expect(size: int, shard: AnyPath, length: int) -> None:
    if length != size:
        raise RecordsError(f"{shard} has {length} bytes, not {size}: run `lensgate train prepare` again")


def _fetch(records: StoragePath, kept: Path, shard: tuple[str, int]) -> Path:
    name, size = shard
    copy = kept / name
    if copy.is_file() and copy.stat().st_size == size:
        return copy
    data = (records / name).read_bytes()
    _expect(size, records / name, len(data))
    try:
        write_atomically(copy, data)
    except OSError as error:
        raise StorageError(f"{records} cannot be cached: {error}; set XDG_CACHE_HOME to another folder") from error
    return copy


def _read(shard: AnyPath, file: Path) -> Iterator[ShardRecord]:
    try:
        return read_shard(file)
    except DamagedError as error:
        if file == shard:
            raise RecordsError(f"{error}: delete it and run `lensgate train prepare` again") from error
        # The next reader downloads it again.
        file.unlink(missing_ok=True)
        raise RecordsError(
            f"{shard} or its cached copy is damaged; the copy was deleted. Run this command again; if the error "
            "persists, delete the shard and run `lensgate train prepare`"
        ) from error
