"""Shards to read, wherever they lie: those of object storage are fetched once and kept on this machine.

TensorFlow reaches no S3, and a step reads all shards more than once: for several splits, for every trial. What is
parsed are therefore files of this machine, by the same code as a folder's. A shard's name changes with the images in
it, so that a copy of its name and length is the shard; its checksums are checked whenever it is read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from common.errors import StorageError
from common.storage import AnyPath, StoragePath, write_atomically
from training.data.parallel_map import prefetched
from training.data.shards import Image, read_shard
from training.errors import DamagedError, RecordsError

AHEAD = 8
"""Shards that are fetched at the same time, and at most so many before they are read."""


def read_images(records: AnyPath, shards: Mapping[str, int]) -> Iterator[Image]:
    """All images of some `shards`: names below `records`, each with its length in bytes.

    Raises:
        RecordsError: a shard is gone, damaged, or not as long as it should be.
        StorageError: no copy can be kept, or the storage cannot be reached.
    """
    try:
        with _files(records, shards) as files:
            for name, file in zip(shards, files, strict=True):
                yield from _read(records / name, file)
    except FileNotFoundError as error:
        raise RecordsError(
            f"{records} lacks shards that its manifest names: run `lensgate train prepare` again, and wait until it is "
            "done"
        ) from error


def forget(records: AnyPath, *, but: set[str]) -> None:
    """Delete the copies of shards that the records no longer have."""
    if isinstance(records, StoragePath):
        kept = folder_of(records)
        # What another process is still writing has no such ending.
        for copy in kept.rglob("*.tfrecord"):
            if copy.relative_to(kept).as_posix() not in but:
                copy.unlink(missing_ok=True)


def folder_of(records: StoragePath) -> Path:
    """Where the copies lie: below `XDG_CACHE_HOME`, which is `~/.cache` where it is not set."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise StorageError(f"there is no folder to keep copies of {records} in: set XDG_CACHE_HOME to one") from error
    return cache / "lensgate/records" / hashlib.sha256(records.url.encode()).hexdigest()[:16]


def _files(records: AnyPath, shards: Mapping[str, int]) -> AbstractContextManager[Iterator[Path]]:
    if isinstance(records, Path):
        return nullcontext(records / name for name in shards)
    return prefetched(partial(_fetch, records, folder_of(records)), shards.items(), threads=AHEAD, ahead=AHEAD)


def _fetch(records: StoragePath, kept: Path, shard: tuple[str, int]) -> Path:
    name, size = shard
    copy = kept / name
    if copy.is_file() and copy.stat().st_size == size:
        return copy
    data = (records / name).read_bytes()
    if len(data) != size:
        raise RecordsError(f"{records / name} has {len(data)} bytes and not {size}: run `lensgate train prepare` again")
    try:
        write_atomically(copy, data)
    except OSError as error:
        raise StorageError(
            f"no copy of {records} can be kept: {error}; set XDG_CACHE_HOME to another folder"
        ) from error
    return copy


def _read(shard: AnyPath, file: Path) -> Iterator[Image]:
    try:
        return read_shard(file)
    except DamagedError as error:
        if file == shard:
            raise RecordsError(f"{error}: delete it and run `lensgate train prepare` again") from error
        # Whoever reads it next fetches it anew.
        file.unlink(missing_ok=True)
        raise RecordsError(
            f"{shard} is damaged, or its copy was, which is deleted: run this again, and if that says the same, delete "
            "the shard and run `lensgate train prepare`"
        ) from error
