"""TFRecord shards: the gate's own pixels, decoded once on all cores, and the table that says what each image is for.

A folder of records holds `shards/<size>/*.tfrecord`, 450 images each, `images.csv` with label and split of every
image, and `manifest.json`, which is written last. Pixels depend on the files alone, so that another seed or a
corrected label decodes nothing again.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.storage import AnyPath, sizes_of, write_atomically
from gate import Label
from gate.card import CardDataSet
from gate.pixels import Pixels
from training.data.dataset import DataSet, Split
from training.data.image_table import Row, from_csv, to_csv
from training.data.local_copies import forget, read_images
from training.data.near_duplicates import group_near
from training.data.shards import FOLDER, Block, Item, write_blocks
from training.data.split import Picture, split_pictures
from training.errors import DataError, RecordsError

MANIFEST_FILE = "manifest.json"
TABLE_FILE = "images.csv"


class Shard(BaseModel):
    """One shard at one size; `glasses` is the share of its images that show them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Copies are written by this name: what a bucket holds must not lead out of their folder.
    file: str = Field(pattern=rf"^{FOLDER}/\d+/[\w-]+\.tfrecord$")
    images: int
    bytes: int
    glasses: float


class Manifest(BaseModel):
    """What a folder of records holds. Written last: a folder without one is not finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    seed: int
    seconds: float
    data: tuple[CardDataSet, ...]
    shards: dict[int, tuple[Shard, ...]]
    table: str
    problems: tuple[str, ...]

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read the manifest of `folder`.

        Raises:
            RecordsError: there is none, it is not one, or the table beside it is not its own.
            StorageError: the storage cannot be reached.
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
                f"{folder / TABLE_FILE} is not what its manifest was written for. If it was changed by hand, put "
                "corrections into corrections.csv; if `lensgate train prepare` is writing there, wait until it is done"
            )
        return manifest, table

    def fingerprint(self) -> str:
        """SHA-256 of the images, their labels and how they were split, at whatever size and by whichever command."""
        return self.table

    def count(self, split: Split) -> int:
        """Images of a split, over all data sets and labels."""
        return sum(sum(data.images.get(split, {}).values()) for data in self.data)

    def the_size(self, size: int | None = None) -> int:
        """`size` if it was prepared; the only one if none is asked for.

        Raises:
            RecordsError: it was not prepared, or there are several to choose from.
        """
        if size is None and len(self.shards) == 1:
            return next(iter(self.shards))
        if size is None:
            raise RecordsError(f"the records hold the sizes {sorted(self.shards)}: choose one with --size")
        if size not in self.shards:
            raise RecordsError(f"the records hold the sizes {sorted(self.shards)}: prepare --size {size} first")
        return size


@dataclass(frozen=True, slots=True)
class Records:
    """Images in memory, uint8 `[N, S, S, 3]`, labels float32 `[N]`, and for each its name, data set and source."""

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
        """Those images that a mask `[N]` of bool, or an array of indices, names."""
        index = np.arange(len(self))[which]
        columns = (tuple(column[one] for one in index) for column in (self.names, self.data_sets, self.sources))
        return Records(self.images[index], self.labels[index], *columns)

    def relabelled(self, labels: NDArray[np.float32]) -> "Records":
        """The same images with other labels, `[N]`."""
        return Records(self.images, labels, self.names, self.data_sets, self.sources)


def join(*parts: Records) -> Records:
    """One after the other; all of one size."""
    return Records(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(name for part in parts for name in part.names),
        tuple(name for part in parts for name in part.data_sets),
        tuple(name for part in parts for name in part.sources),
    )


def write_records(
    datasets: Sequence[DataSet], out: AnyPath, *, sizes: Sequence[int], seed: int, command: str = ""
) -> Manifest:
    """Decode `datasets` into shards at each of `sizes` pixels, once, and split them.

    Run again it decodes only what is new or was not finished. Files that cannot be read, are the same as one before,
    or nearly the same as one kept for testing, are left out and named in the manifest's `problems`.

    Raises:
        DataError: two data sets share a name, or one is too small for both labels to be in every split.
        RecordsError: shards went while they were written.
        StorageError: the storage cannot be reached, refuses, or lacks the bucket.
    """
    if len({data.name for data in datasets}) < len(datasets):
        raise DataError("two data sets have the same folder name: rename one, so that figures can tell them apart")
    started = time.monotonic()
    (out / MANIFEST_FILE).unlink(missing_ok=True)
    sizes = sorted(set(sizes))
    items = [item for data in datasets for item in _items(data)]
    blocks = write_blocks(items, out, sizes=sizes)
    problems = [f"{data.name}: {problem}" for data in datasets for problem in data.problems]
    rows = _rows(datasets, items, blocks, seed=seed, problems=problems)
    table = to_csv(rows)
    write_atomically(out / TABLE_FILE, table)
    manifest = Manifest(
        command=command,
        seed=seed,
        seconds=round(time.monotonic() - started, 1),
        data=tuple(_describe(data, rows) for data in datasets),
        shards=_shards(out, blocks, sizes, rows),
        table=hashlib.sha256(table).hexdigest(),
        problems=tuple(problems),
    )
    write_atomically(out / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
    return manifest


def load_records(folder: AnyPath, *splits: Split, size: int | None = None) -> Records:
    """Read all images of some splits into memory, in the order of the table.

    Raises:
        RecordsError: the records are not finished, lack a shard, or do not have this size.
        StorageError: the storage cannot be reached.
    """
    (found,) = _load(*Manifest._read_with_table(folder), folder, [splits], size)
    return found


def load_parts(
    folder: AnyPath, *splits: Split, size: int | None = None, fingerprint: str | None = None
) -> tuple[Records, ...]:
    """Each of some splits by itself, all from one reading.

    Raises:
        RecordsError: as `load_records`; or the records are not those with this fingerprint any more.
        StorageError: the storage cannot be reached.
    """
    manifest, table = Manifest._read_with_table(folder)
    if fingerprint not in (None, manifest.fingerprint()):
        raise RecordsError(f"{folder} was prepared anew while this went on: run it again")
    return _load(manifest, table, folder, [(split,) for split in splits], size)


def read_sources(folder: AnyPath, *splits: Split) -> set[str]:
    """The sources of all images of some splits, by the table alone: a chief reads no shard.

    Raises:
        RecordsError: the records are not finished.
        StorageError: the storage cannot be reached.
    """
    _, table = Manifest._read_with_table(folder)
    return {row.source for row in from_csv(table) if row.split in splits}


def _items(data: DataSet) -> list[Item]:
    labelled_test = [example for example in data.test if example.glasses is not None]
    return [Item(data.name, example, in_test=False) for example in data.train] + [
        Item(data.name, example, in_test=True) for example in labelled_test
    ]


def _rows(
    datasets: Sequence[DataSet], items: Sequence[Item], blocks: Sequence[Block], *, seed: int, problems: list[str]
) -> list[Row]:
    """What becomes of every image that could be read; what of the others goes into `problems`."""
    found = [one for block in blocks for one in block.found]
    kept, seen = [], dict[str, str]()
    for item, one in zip(items, found, strict=True):
        if one.fault:
            problems.append(f"{item.title} is left out: {one.fault}")
        elif twin := seen.get(one.sha256):
            problems.append(f"{item.title} is left out: it is the same file as {twin}")
        else:
            seen[one.sha256] = item.title
            kept.append((item, one))
    groups = group_near([one.likeness for _, one in kept])
    rows = []
    for data in datasets:
        part = [
            (item, one, group) for (item, one), group in zip(kept, groups, strict=True) if item.data_set == data.name
        ]
        pictures = [Picture(bool(item.example.glasses), group, item.in_test) for item, _, group in part]
        splits = split_pictures(pictures, auxiliary=data.auxiliary, seed=seed, folder=data.folder)
        for (item, one, _), split in zip(part, splits, strict=True):
            if split is None:
                problems.append(f"{item.title} is left out: it is nearly the same as a picture kept for testing")
            else:
                rows.append(_row(item, split, one.sha256))
    return rows


def _row(item: Item, split: Split, sha256: str) -> Row:
    one = item.example
    return Row(item.data_set, one.name, one.source, split, bool(one.glasses), bool(one.given), sha256)


def _describe(data: DataSet, rows: Sequence[Row]) -> CardDataSet:
    """The data set as the card names it."""
    mine = [row for row in rows if row.data_set == data.name]
    counts = Counter((row.split, row.glasses) for row in mine)
    digest = "\n".join(sorted(f"{row.name},{row.glasses},{row.sha256}" for row in mine))
    splits = (split for split in Split if counts[split, True] or counts[split, False])
    return CardDataSet(
        name=data.name,
        fingerprint=hashlib.sha256(digest.encode()).hexdigest(),
        source=data.about.source,
        licence=data.about.licence,
        images={
            split.value: {Label.GLASSES: counts[split, True], Label.NO_GLASSES: counts[split, False]}
            for split in splits
        },
    )


def _shards(
    out: AnyPath, blocks: Sequence[Block], sizes: Sequence[int], rows: Sequence[Row]
) -> dict[int, tuple[Shard, ...]]:
    held = {f"{FOLDER}/{name}": count for name, count in sizes_of(out / FOLDER).items()}
    if any(block.file(size) not in held for block in blocks for size in sizes):
        raise RecordsError(f"{out} lost shards meanwhile: does another `lensgate train prepare` write there?")
    labels = {row.sha256: row.glasses for row in rows}
    return {size: tuple(_shard(block, block.file(size), held, labels) for block in blocks) for size in sizes}


def _shard(block: Block, file: str, held: Mapping[str, int], labels: Mapping[str, bool]) -> Shard:
    shown = [labels[one.sha256] for one in block.found if one.sha256 in labels]
    images = sum(not one.fault for one in block.found)
    share = round(float(np.mean(shown)), 4) if shown else 0.0
    return Shard(file=file, images=images, bytes=held[file], glasses=share)


def _load(
    manifest: Manifest, table: bytes, folder: AnyPath, groups: Sequence[Sequence[Split]], size: int | None
) -> tuple[Records, ...]:
    """The images of each group of splits, from one pass over the shards."""
    size = manifest.the_size(size)
    rows = from_csv(table)
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


def _records(rows: Sequence[Row], images: Pixels) -> Records:
    return Records(
        images,
        np.array([row.glasses for row in rows], np.float32),
        tuple(row.name for row in rows),
        tuple(row.data_set for row in rows),
        tuple(row.source for row in rows),
    )
