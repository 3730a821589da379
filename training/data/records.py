"""Prepare and load training records: images decoded like the gate's, and a table with the label and split of each.

A folder of records holds `shards/<size>/*.tfrecord` with 450 images each, `images.csv` with label and split of every
image, and `manifest.json`, written last. Shards depend on the image files alone, so a new seed or a corrected label
does not decode them again.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.storage import AnyPath, locked, parse_path, sizes_of, write_together
from common.terminal import printable
from gate.card import CardDataSet
from gate.pixels import Pixels
from training.data.dataset import ImageDataSet, Split
from training.data.image_choice import keep_images
from training.data.image_table import ImageRow, LabelTable, count_labels, from_csv, to_csv
from training.data.shard_cache import forget, read_images
from training.data.shards import FOLDER, ImageBlock, SourceImage, sweep, write_blocks
from training.errors import DataError, RecordsError

MANIFEST_FILE = "manifest.json"
TABLE_FILE = "images.csv"


class RecordShard(BaseModel):
    """One shard at one size; `glasses` is the share of its images with glasses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The cache writes to this path: a manifest in a bucket must not escape the cache folder.
    file: str = Field(pattern=rf"^{FOLDER}/\d+/[\w-]+\.tfrecord$")
    images: int
    bytes: int
    glasses: float


class Manifest(BaseModel):
    """The index of a folder of records, written last: without it the folder is incomplete.

    `base` names the folder of the shards if they belong to other records, of which these are another split. `folders`
    are those of the data sets, on the machine that decoded them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    seed: int
    seconds: float
    data: tuple[CardDataSet, ...]
    shards: dict[int, tuple[RecordShard, ...]]
    table: str
    problems: tuple[str, ...]
    base: str | None = None
    folders: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read the manifest of `folder`.

        Raises:
            RecordsError: the manifest is missing or invalid, or the table does not match it.
            StorageError: the storage is unreachable.
        """
        return cls._read_with_table(folder)[0]

    @classmethod
    def _read_with_table(cls, folder: AnyPath) -> tuple[Self, bytes]:
        try:
            manifest = cls.model_validate_json((folder / MANIFEST_FILE).read_bytes())
            table = (folder / TABLE_FILE).read_bytes()
        except (OSError, ValidationError) as error:
            raise RecordsError(f"{folder} holds no finished records: run `lensgate train prepare` first") from error
        if hashlib.sha256(table).hexdigest() != manifest.table:
            raise RecordsError(
                f"{folder / TABLE_FILE} does not match its manifest. If you edited it, put the corrections into "
                "corrections.csv instead; if `lensgate train prepare` is writing there, wait for it to finish, and if "
                "it was interrupted, run it again"
            )
        return manifest, table

    def fingerprint(self) -> str:
        """SHA-256 of images, labels and splits, independent of size and command."""
        return self.table

    def home(self, folder: AnyPath) -> AnyPath:
        """Return the folder of the shards of the records in `folder`."""
        return folder if self.base is None else parse_path(self.base)

    def count(self, split: Split) -> int:
        """Count the images of a split over all data sets and labels."""
        return sum(sum(data.images.get(split, {}).values()) for data in self.data)

    def the_size(self, size: int | None = None) -> int:
        """Return `size`, or the only prepared size if `size` is None.

        Raises:
            RecordsError: `size` was not prepared, or it is None and there are several sizes.
        """
        if size is None and len(self.shards) == 1:
            return next(iter(self.shards))
        if size is None:
            raise RecordsError(f"the records hold the sizes {sorted(self.shards)}: choose one with --size")
        if size not in self.shards:
            # All of them: sizes that are not named again are deleted.
            wanted = " ".join(f"--size {one}" for one in sorted({*self.shards, size}))
            raise RecordsError(f"the records hold the sizes {sorted(self.shards)}: prepare {wanted} first")
        return size


@dataclass(frozen=True, slots=True)
class Records:
    """Images in memory, uint8 `[N, S, S, 3]`, with labels float32 `[N]`, names, data sets and sources."""

    images: Pixels
    labels: NDArray[np.float32]
    names: tuple[str, ...]
    data_sets: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Edge of the images in pixels."""
        return int(self.images.shape[1])

    def select(self, which: NDArray[np.generic]) -> "Records":
        """Select images by a bool mask `[N]` or an array of indices."""
        index = np.arange(len(self))[which]
        columns = (tuple(column[one] for one in index) for column in (self.names, self.data_sets, self.sources))
        return Records(self.images[index], self.labels[index], *columns)

    def relabelled(self, labels: NDArray[np.float32]) -> "Records":
        """Return the same images with new labels, `[N]`."""
        return Records(self.images, labels, self.names, self.data_sets, self.sources)

    def labelled_by(self, table: LabelTable) -> "Records":
        """Return the same images with the labels of a table, which has every one of them."""
        keys = zip(self.data_sets, self.names, strict=True)
        return self.relabelled(np.array([table[key] for key in keys], np.float32))


def join(*parts: Records) -> Records:
    """Concatenate records of equal size."""
    return Records(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(name for part in parts for name in part.names),
        tuple(name for part in parts for name in part.data_sets),
        tuple(name for part in parts for name in part.sources),
    )


def write_records(
    datasets: Sequence[ImageDataSet], out: AnyPath, *, sizes: Sequence[int], seed: int, command: str = ""
) -> Manifest:
    """Decode `datasets` into shards at each of `sizes` pixels, and split them.

    A second run decodes only new or unfinished blocks. Until it succeeds, the records that were there stay complete.
    Unreadable files, duplicates and near-duplicates of test images are left out and listed in the manifest's
    `problems`, with data sets whose splits differ in their share of glasses.

    Raises:
        DataError: two data sets share a name, no image is usable, or one is too small for both labels in every split.
        FolderInUse: another run is writing to the folder.
        RecordsError: shards disappeared while they were written.
        StorageError: the storage is unreachable, denies access, or lacks the bucket.
    """
    if len({data.name for data in datasets}) < len(datasets):
        raise DataError("two data sets have the same folder name: rename one, because figures identify them by it")
    with locked(out):
        return _write(datasets, out, sizes=sorted(set(sizes)), seed=seed, command=command)


def _write(
    datasets: Sequence[ImageDataSet], out: AnyPath, *, sizes: Sequence[int], seed: int, command: str
) -> Manifest:
    started = time.monotonic()
    items = [item for data in datasets for item in _items(data)]
    blocks = write_blocks(items, out, sizes=sizes)
    problems = [f"{data.name}: {problem}" for data in datasets for problem in data.problems]
    rows = keep_images(datasets, items, blocks, seed=seed, problems=problems)
    table = to_csv(rows)
    manifest = Manifest(
        command=command,
        seed=seed,
        seconds=round(time.monotonic() - started, 1),
        data=tuple(_describe(data, rows) for data in datasets),
        shards=_shards(out, blocks, sizes, rows),
        table=hashlib.sha256(table).hexdigest(),
        problems=tuple(map(printable, problems)),
        folders={data.name: printable(str(data.folder.absolute())) for data in datasets},
    )
    write_together(out, {TABLE_FILE: table, MANIFEST_FILE: manifest.model_dump_json(indent=2).encode()})
    sweep(out, blocks, sizes)
    return manifest


def load_records(folder: AnyPath, *splits: Split, size: int | None = None) -> Records:
    """Read all images of the given splits into memory, in the order of the table.

    Raises:
        RecordsError: the records are unfinished, lack a shard, or lack this size.
        StorageError: the storage is unreachable.
    """
    (found,) = _load(*Manifest._read_with_table(folder), folder, [splits], size)
    return found


def load_parts(
    folder: AnyPath, *splits: Split, size: int | None = None, fingerprint: str | None = None
) -> tuple[Records, ...]:
    """Read the given splits separately, in one pass over the shards.

    Raises:
        RecordsError: as `load_records`; or the fingerprint of the records has changed.
        StorageError: the storage is unreachable.
    """
    manifest, table = Manifest._read_with_table(folder)
    if fingerprint not in (None, manifest.fingerprint()):
        raise RecordsError(f"{folder} was prepared again during this run: run the command again")
    return _load(manifest, table, folder, [(split,) for split in splits], size)


def read_rows(folder: AnyPath, *splits: Split) -> list[ImageRow]:
    """Return the table's rows of the given splits, or of all if there are none, without reading shards.

    Raises:
        RecordsError: the records are unfinished.
        StorageError: the storage is unreachable.
    """
    _, table = Manifest._read_with_table(folder)
    return [row for row in from_csv(table) if not splits or row.split in splits]


def _items(data: ImageDataSet) -> list[SourceImage]:
    parts = ((data.train, False), (data.test, True))
    labelled = [(one, in_test) for part, in_test in parts for one in part if one.glasses is not None]
    return [SourceImage(data.name, one, in_test=in_test) for one, in_test in labelled]


def _describe(data: ImageDataSet, rows: Sequence[ImageRow]) -> CardDataSet:
    """Describe the data set for the card."""
    mine = [row for row in rows if row.data_set == data.name]
    digest = "\n".join(sorted(f"{row.name},{row.glasses},{row.sha256}" for row in mine))
    return CardDataSet(
        name=data.name,
        fingerprint=hashlib.sha256(digest.encode()).hexdigest(),
        source=data.about.source,
        licence=data.about.licence,
        images=count_labels(data.name, rows),
    )


def _shards(
    out: AnyPath, blocks: Sequence[ImageBlock], sizes: Sequence[int], rows: Sequence[ImageRow]
) -> dict[int, tuple[RecordShard, ...]]:
    held = sizes_of(out / FOLDER)
    if not all(block.is_whole(size, held) for block in blocks for size in sizes):
        raise RecordsError(f"{out} lost shards during this run: does another `lensgate train prepare` write there?")
    labels = {row.sha256: row.glasses for row in rows}
    return {size: tuple(_shard(block, size, labels) for block in blocks) for size in sizes}


def _shard(block: ImageBlock, size: int, labels: Mapping[str, bool]) -> RecordShard:
    shown = [labels[one.sha256] for one in block.found if one.sha256 in labels]
    images = sum(not one.fault for one in block.found)
    share = round(float(np.mean(shown)), 4) if shown else 0.0
    return RecordShard(file=block.file(size), images=images, bytes=block.bytes[size], glasses=share)


def _load(
    manifest: Manifest, table: bytes, folder: AnyPath, groups: Sequence[Sequence[Split]], size: int | None
) -> tuple[Records, ...]:
    """Load the images of each group of splits in one pass over the shards."""
    size = manifest.the_size(size)
    folder, rows = manifest.home(folder), from_csv(table)
    parts = [[row for row in rows if row.split in group] for group in groups]
    images = [np.empty((len(part), size, size, 3), np.uint8) for part in parts]
    missing = {
        (row.data_set, row.name): place
        for part, places in zip(parts, images, strict=True)
        for row, place in zip(part, places, strict=True)
    }
    forget(folder, but={shard.file for shards in manifest.shards.values() for shard in shards})
    for data_set, name, pixels in read_images(folder, {shard.file: shard.bytes for shard in manifest.shards[size]}):
        place = missing.pop((data_set, name), None)
        if place is not None:
            place[...] = np.frombuffer(pixels, np.uint8).reshape(place.shape)
    if missing:
        raise RecordsError(f"{folder} lacks images that its table names: run `lensgate train prepare` again")
    return tuple(_records(part, places) for part, places in zip(parts, images, strict=True))


def _records(rows: Sequence[ImageRow], images: Pixels) -> Records:
    return Records(
        images,
        np.array([row.glasses for row in rows], np.float32),
        tuple(row.name for row in rows),
        tuple(row.data_set for row in rows),
        tuple(row.source for row in rows),
    )
