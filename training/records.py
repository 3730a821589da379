"""TFRecord shards: the gate's own pixels, decoded once on all cores and read back for every epoch."""

import hashlib
import itertools
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from gate import ImageError, Label, read_pixels
from gate.card import DataSet as CardDataSet
from gate.models import write_whole
from gate.pixels import Pixels
from training.dataset import DataSet, Example, Split
from training.errors import DataError, RecordsError
from training.split import split_dataset

SHARD_IMAGES = 450
MANIFEST_FILE = "manifest.json"

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "glasses": tf.io.FixedLenFeature([], tf.int64),
    "name": tf.io.FixedLenFeature([], tf.string),
    "data_set": tf.io.FixedLenFeature([], tf.string),
}


class Manifest(BaseModel):
    """What a folder of shards holds. Written last: a folder without one is not finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    size: int
    seed: int
    data: tuple[CardDataSet, ...]
    shards: dict[Split, tuple[str, ...]]
    problems: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of `folder`.

        Raises:
            RecordsError: there is none, or it is not one.
        """
        try:
            return cls.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise RecordsError(f"{folder} holds no finished records: run `lensgate train prepare` first") from error

    def fingerprint(self) -> str:
        """SHA-256 of what the shards hold and how it was split, whenever and by whichever command it was made."""
        return hashlib.sha256(self.model_dump_json(exclude={"command", "problems"}).encode()).hexdigest()

    def count(self, split: Split) -> int:
        """Images of a split, over all data sets and labels."""
        return sum(sum(data.images[split].values()) for data in self.data)


@dataclass(frozen=True, slots=True)
class Records:
    """All images of a split in memory: uint8 `[N, S, S, 3]`, labels float32 `[N]`, and where each came from."""

    images: Pixels
    labels: NDArray[np.float32]
    names: tuple[str, ...]
    data_sets: tuple[str, ...]


def write_records(datasets: Sequence[DataSet], out: Path, *, size: int, seed: int, command: str = "") -> Manifest:
    """Split, decode and write `datasets` as shards of 450 images at `size` pixels.

    Files that cannot be read, or are the same as one before, are left out and named in the manifest's `problems`.

    Raises:
        DataError: two data sets share a name, or one is too small for both labels to be in every split.
    """
    if len({data.name for data in datasets}) < len(datasets):
        raise DataError("two data sets have the same folder name: rename one, so that figures can tell them apart")
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST_FILE).unlink(missing_ok=True)
    parts = [(data.name, split_dataset(data, seed=seed)) for data in datasets]
    problems = [f"{data.name}: {problem}" for data in datasets for problem in data.problems]
    tally = _Tally(problems)
    shards = {}
    for split in Split:
        items = [_Item(name, example) for name, splits in parts for example in splits[split]]
        # Shuffled once here: neighbours in a shard should not all come from one data set.
        random.Random(f"{seed} {split}").shuffle(items)
        rows = tally.sift(_decode(items, size, f"{split}: decode"), split)
        shards[split] = tuple(_write_shards(rows, out, split))
    about = tuple(tally.describe(data) for data in datasets)
    manifest = Manifest(command=command, size=size, seed=seed, data=about, shards=shards, problems=tuple(problems))
    write_whole(out / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
    return manifest


def tf_dataset(folder: Path, split: Split) -> Any:
    """Stream a split as a `tf.data.Dataset` of (image uint8 `[S, S, 3]`, label float32 `[]`)."""
    manifest = Manifest.read(folder)
    rows = _parsed(folder, manifest, split)
    pairs = rows.map(lambda row: (_pixels(row, manifest.size), tf.cast(row["glasses"], tf.float32)))
    # Shards do not tell their length; without it Keras has no progress to show in the first epoch.
    return pairs.apply(tf.data.experimental.assert_cardinality(manifest.count(split)))


def load_records(folder: Path, split: Split) -> Records:
    """Read a whole split into memory."""
    manifest = Manifest.read(folder)
    rows = list(_parsed(folder, manifest, split).as_numpy_iterator())
    shape = (manifest.size, manifest.size, 3)
    images = [np.frombuffer(row["image"], np.uint8).reshape(shape) for row in rows]
    return Records(
        images=np.stack(images) if images else np.empty((0, *shape), np.uint8),
        labels=np.array([row["glasses"] for row in rows], np.float32),
        names=tuple(row["name"].decode() for row in rows),
        data_sets=tuple(row["data_set"].decode() for row in rows),
    )


def _parsed(folder: Path, manifest: Manifest, split: Split) -> Any:
    files = [str(folder / name) for name in manifest.shards[split]]
    if not all(Path(file).is_file() for file in files):
        raise RecordsError(f"{folder} lacks shards that its manifest names: run `lensgate train prepare` again")
    return tf.data.TFRecordDataset(files).map(lambda raw: tf.io.parse_single_example(raw, _FEATURES))


def _pixels(row: Any, size: int) -> Any:
    return tf.reshape(tf.io.decode_raw(row["image"], tf.uint8), (size, size, 3))


@dataclass(frozen=True, slots=True)
class _Item:
    data_set: str
    example: Example

    @property
    def label(self) -> Label:
        return Label.GLASSES if self.example.glasses else Label.NO_GLASSES


@dataclass(frozen=True, slots=True)
class _Outcome:
    item: _Item
    pixels: Pixels | None
    sha256: str
    fault: str


def _decode(items: Sequence[_Item], size: int, title: str) -> Iterator[_Outcome]:
    """Decode on all cores, in order; the decoders release the GIL."""

    def read(item: _Item) -> _Outcome:
        try:
            data = item.example.path.read_bytes()
            return _Outcome(item, read_pixels(data, size), hashlib.sha256(data).hexdigest(), "")
        except (ImageError, OSError) as error:
            return _Outcome(item, None, "", str(error))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(read, items), desc=title, total=len(items), unit="image")


class _Tally:
    """Keeps count of what goes into the shards, and names in `problems` what does not."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._counts: Counter[tuple[str, Split, Label]] = Counter()
        self._names: dict[str, str] = {}
        self._digests: dict[str, list[str]] = {}

    def sift(self, outcomes: Iterable[_Outcome], split: Split) -> Iterator[bytes]:
        """The records of those images that could be read and were not there before."""
        for outcome in outcomes:
            item, name = outcome.item, f"{outcome.item.data_set}: {outcome.item.example.path.name}"
            if outcome.pixels is None:
                self._problems.append(f"{name} is left out: {outcome.fault}")
            elif twin := self._names.get(outcome.sha256):
                # In two splits it would be learned by heart and then asked for.
                self._problems.append(f"{name} is left out: it is the same file as {twin}")
            else:
                self._names[outcome.sha256] = name
                self._counts[item.data_set, split, item.label] += 1
                line = f"{item.example.name},{item.label},{outcome.sha256}"
                self._digests.setdefault(item.data_set, []).append(line)
                yield _serialize(item, outcome.pixels)

    def describe(self, data: DataSet) -> CardDataSet:
        """The data set as the card names it.

        Raises:
            DataError: a split was left without one of the labels.
        """
        images = {split: {label: self._counts[data.name, split, label] for label in Label} for split in Split}
        for split, labels in images.items():
            if not all(labels.values()):
                raise DataError(
                    f"{data.folder}: after what was left out, the {split} split lacks one of the two labels"
                )
        return CardDataSet(
            name=data.name,
            fingerprint=hashlib.sha256("\n".join(sorted(self._digests[data.name])).encode()).hexdigest(),
            source=data.about.source,
            licence=data.about.licence,
            images={split.value: labels for split, labels in images.items()},
        )


def _write_shards(rows: Iterable[bytes], out: Path, split: Split) -> Iterator[str]:
    rows = iter(rows)
    for index in itertools.count():
        shard = list(itertools.islice(rows, SHARD_IMAGES))
        if not shard:
            return
        name = f"{split}-{index:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(out / name)) as writer:
            for row in shard:
                writer.write(row)
        yield name


def _serialize(item: _Item, pixels: Pixels) -> bytes:
    feature = {
        "image": _bytes_feature(pixels.tobytes()),
        "glasses": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(item.label is Label.GLASSES)])),
        "name": _bytes_feature(item.example.name.encode()),
        "data_set": _bytes_feature(item.data_set.encode()),
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return serialized


def _bytes_feature(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
