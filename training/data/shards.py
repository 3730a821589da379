"""Blocks of 450 images, decoded on all cores into one TFRecord shard a size; each is there whole or not at all."""

import errno
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from common.storage import AnyPath, atomic_file, sizes_of, write_atomically
from gate import ImageError, read_pixels, read_pixels_at
from gate.cores import usable_cores
from gate.pixels import Pixels
from training.data.dataset import Example
from training.data.near_duplicates import perceptual_hash
from training.data.parallel_map import prefetched
from training.errors import DamagedError

SHARD_IMAGES = 450
FOLDER = "shards"
FORMAT = "2"
"""Goes into the name of every block: what another version of this code wrote is decoded again."""

READERS = 16
"""Indexes of blocks that are read at the same time: in object storage each takes its while."""

FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "name": tf.io.FixedLenFeature([], tf.string),
    "data_set": tf.io.FixedLenFeature([], tf.string),
}

Image = tuple[str, str, bytes]
"""Data set, name, and pixels as a shard has them."""

_OURS = re.compile(r"(\d+/)?\.?\d{5}-[0-9a-f]{12}\.")
"""Names of shards and indexes, half-written ones too: a bucket may hold what is none of ours."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image to decode, and whether its data set keeps it for testing."""

    data_set: str
    example: Example
    in_test: bool

    @property
    def title(self) -> str:
        """How problems name it."""
        return f"{self.data_set}: {self.example.path.name}"


class Found(BaseModel):
    """What decoding one image gave: hashes of the file and of the picture, or the fault that stopped it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    likeness: str
    fault: str


class Block(BaseModel):
    """The index of one block, written after its shards: a block without one is not finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    found: tuple[Found, ...]

    def file(self, size: int) -> str:
        """The shard at `size` pixels, relative to the records."""
        return f"{FOLDER}/{size}/{self.name}.tfrecord"


def write_blocks(items: Sequence[Item], out: AnyPath, *, sizes: Sequence[int]) -> list[Block]:
    """Write `items` in order as blocks of 450 under `out / shards`, and take away what is left of others.

    A block that an earlier run finished from the same files is not decoded again.
    """
    parts = [tuple(items[start : start + SHARD_IMAGES]) for start in range(0, len(items), SHARD_IMAGES)]
    names = [f"{index:05d}-{_key(part)}" for index, part in enumerate(parts)]
    done = _finished(out, names, sizes)
    todo = [item for name, part in zip(names, parts, strict=True) if not done[name] for item in part]
    # Where the shards go takes longer than decoding, what is decoded must not pile up.
    decode = prefetched(partial(_decode, sizes=sizes), todo, threads=usable_cores(), ahead=2 * SHARD_IMAGES)
    with decode as decoded, tqdm(decoded, desc="decode", total=len(todo), unit="image") as shown:
        outcomes = iter(shown)
        blocks = [
            done[name]
            or _write_block(out, name, sizes, list(zip(part, itertools.islice(outcomes, len(part)), strict=True)))
            for name, part in zip(names, parts, strict=True)
        ]
    _sweep(out, blocks, sizes)
    return blocks


def decode_images(paths: Sequence[Path], size: int) -> Iterator[Pixels | str]:
    """Each file's pixels, uint8 `[size, size, 3]`, or what is wrong with it; in order, decoded on all cores."""

    def read(path: Path) -> Pixels | str:
        try:
            return read_pixels(_read_file(path), size)
        except (ImageError, OSError) as error:
            return str(error)

    with prefetched(read, paths, threads=usable_cores(), ahead=SHARD_IMAGES) as decoded:
        yield from decoded


def read_shard(path: Path) -> Iterator[Image]:
    """Every image of a shard; its checksums are checked.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is not as it was written.
    """
    try:
        raw = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such shard", str(path)) from error
    except tf.errors.DataLossError as error:
        raise DamagedError(f"{path} is damaged: {error.message}") from error
    if not raw:
        return iter(())
    features = tf.io.parse_example(raw, FEATURES)
    columns = (features[name].numpy() for name in ("data_set", "name", "image"))
    return ((data_set.decode(), name.decode(), image) for data_set, name, image in zip(*columns, strict=True))


def _read_file(path: Path) -> bytes:
    # Opening a FIFO would wait for its writer for ever.
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "only regular files are read", str(path))
    return path.read_bytes()


def _key(part: Sequence[Item]) -> str:
    """Changes with any file of the block, with their order and with this format."""
    lines = [FORMAT]
    for item in part:
        path = item.example.path
        state = path.stat() if path.is_file() else None
        lines.append(f"{item.data_set},{item.example.name},{path},{state and (state.st_size, state.st_mtime_ns)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _finished(out: AnyPath, names: Sequence[str], sizes: Sequence[int]) -> dict[str, Block | None]:
    """The blocks that are whole, by name."""
    files = sizes_of(out / FOLDER)
    with prefetched(partial(_read_block, out, files, sizes), names, threads=READERS, ahead=READERS) as blocks:
        return dict(zip(names, blocks, strict=True))


def _read_block(out: AnyPath, files: Mapping[str, int], sizes: Sequence[int], name: str) -> Block | None:
    if f"{name}.json" not in files:
        return None
    try:
        block = Block.model_validate_json((out / FOLDER / f"{name}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return block if all(block.file(size).removeprefix(f"{FOLDER}/") in files for size in sizes) else None


_Outcome = tuple[Found, list[Pixels]]


def _decode(item: Item, sizes: Sequence[int]) -> _Outcome:
    try:
        data = _read_file(item.example.path)
        pixels = read_pixels_at(data, sizes)
    except (ImageError, OSError) as error:
        return Found(sha256="", likeness="", fault=str(error)), []
    found = Found(sha256=hashlib.sha256(data).hexdigest(), likeness=perceptual_hash(pixels[-1]), fault="")
    return found, pixels


def _write_block(out: AnyPath, name: str, sizes: Sequence[int], outcomes: Sequence[tuple[Item, _Outcome]]) -> Block:
    block = Block(name=name, found=tuple(found for _, (found, _) in outcomes))
    for index, size in enumerate(sizes):
        rows = [(item, pixels[index]) for item, (_, pixels) in outcomes if pixels]
        _write_shard(out / block.file(size), rows)
    write_atomically(out / FOLDER / f"{name}.json", block.model_dump_json().encode())
    return block


def _write_shard(shard: AnyPath, rows: Sequence[tuple[Item, Pixels]]) -> None:
    with atomic_file(shard) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for item, pixels in rows:
            writer.write(_serialize(item, pixels))


def _serialize(item: Item, pixels: Pixels) -> bytes:
    feature = {
        "image": _bytes_feature(pixels.tobytes()),
        "name": _bytes_feature(item.example.name.encode()),
        "data_set": _bytes_feature(item.data_set.encode()),
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return serialized


def _bytes_feature(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _sweep(out: AnyPath, blocks: Sequence[Block], sizes: Sequence[int]) -> None:
    """Shards of files that have changed since, or that a crash left half-written."""
    named = {f"{block.name}.json" for block in blocks}
    named |= {block.file(size).removeprefix(f"{FOLDER}/") for block in blocks for size in sizes}
    for name in sizes_of(out / FOLDER).keys() - named:
        if _OURS.match(name):
            (out / FOLDER / name).unlink(missing_ok=True)
