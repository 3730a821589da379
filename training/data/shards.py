"""Decode blocks of 450 images on all cores into one TFRecord shard per size; each shard is written atomically."""

import errno
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import StorageError
from common.storage import AnyPath, atomic_file, sizes_of, write_atomically
from gate import ImageError, read_pixels, read_pixels_at
from gate.cores import usable_cores
from gate.pixels import DECODING, Pixels
from training.data.dataset import Example
from training.data.image_folders import read_image_file
from training.data.near_duplicates import perceptual_hash
from training.data.parallel_map import parallel_map
from training.data.progress import progress_bar
from training.errors import DamagedError

SHARD_IMAGES = 450
FOLDER = "shards"
FORMAT = "2"
"""Part of every block name, so that a change of format decodes all images again."""

READERS = 16
"""Concurrent reads of block indexes; each takes a round trip in object storage."""

FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "name": tf.io.FixedLenFeature([], tf.string),
    "data_set": tf.io.FixedLenFeature([], tf.string),
}

ShardRecord = tuple[str, str, bytes]
"""Data set, name, and raw pixels of one image in a shard."""

_OURS = re.compile(r"(\d+/)?\.?\d{5}-[0-9a-f]{12}\.")
"""Names of shards and indexes, partial ones included; a bucket may also hold unrelated files."""

_OPERATION = re.compile(r"\{\{.*?\}\} ?| \[Op:.*", re.DOTALL)
"""In the texts of TensorFlow's errors: `{{function_node ...}}` before the reason, `[Op:...] name:` behind it."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image to decode, and whether `test.csv` lists it."""

    data_set: str
    example: Example
    in_test: bool

    @property
    def title(self) -> str:
        """The image's name in problem reports."""
        return f"{self.data_set}: {self.example.path.name}"


class DecodedFile(BaseModel):
    """The result of decoding one image: hashes of file and picture, or the fault.

    `may_pass` marks a fault of the disk, network or permissions, not of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    likeness: str
    fault: str
    may_pass: bool = False


class ImageBlock(BaseModel):
    """The index of one block, written after its shards: a block without one is not finished.

    `bytes` has the length of each shard by size. A shard that was cut between two images has intact checksums. The
    index is named by the key of the files; shards that lack an image whose read may succeed later have another name, so
    that those of the next run do not replace them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    found: tuple[DecodedFile, ...]
    bytes: dict[int, int]
    key: str = ""

    @property
    def index(self) -> str:
        """The file of the index, below `shards`."""
        return f"{self.key or self.name}.json"

    def file(self, size: int) -> str:
        """The shard at `size` pixels, relative to the records."""
        return _file(self.name, size)

    def is_whole(self, size: int, held: Mapping[str, int]) -> bool:
        """Return whether `held`, the lengths of the files under `shards`, has the whole shard at `size` pixels."""
        return size in self.bytes and held.get(self.file(size).removeprefix(f"{FOLDER}/")) == self.bytes[size]


def write_blocks(items: Sequence[SourceImage], out: AnyPath, *, sizes: Sequence[int]) -> list[ImageBlock]:
    """Write `items` in order as blocks of 450 under `out / shards`.

    Blocks that an earlier run finished from the same files are reused, unless a fault of the disk, network or
    permissions has passed since; the others stay until `sweep`.
    """
    cut = (tuple(items[start : start + SHARD_IMAGES]) for start in range(0, len(items), SHARD_IMAGES))
    parts = {f"{index:05d}-{_key(part)}": part for index, part in enumerate(cut)}
    done = _finished(out, parts, sizes)
    todo = [item for key, part in parts.items() if not done[key] for item in part]
    # Bounded: decoded images must not pile up if storage is slower than decoding.
    decode = parallel_map(partial(_decode, sizes=sizes), todo, threads=usable_cores(), ahead=2 * SHARD_IMAGES)
    with decode as decoded, progress_bar(decoded, title="decode", total=len(todo), unit="image") as shown:
        outcomes = iter(shown)
        blocks = [
            done[key]
            or _write_block(out, key, sizes, list(zip(part, itertools.islice(outcomes, len(part)), strict=True)))
            for key, part in parts.items()
        ]
        # The bar ends at its total once its iterator is exhausted.
        next(outcomes, None)
    return blocks


def sweep(out: AnyPath, blocks: Sequence[ImageBlock], sizes: Sequence[int]) -> None:
    """Delete outdated shards and partial files of a crash."""
    named = {block.index for block in blocks}
    named |= {block.file(size).removeprefix(f"{FOLDER}/") for block in blocks for size in sizes}
    for name in sizes_of(out / FOLDER).keys() - named:
        if _OURS.match(name):
            (out / FOLDER / name).unlink(missing_ok=True)


def decode_images(paths: Sequence[Path], size: int) -> Iterator[Pixels | str]:
    """Yield the pixels of each file, uint8 `[size, size, 3]`, or its error text; in order, decoded on all cores."""

    def read(path: Path) -> Pixels | str:
        try:
            return read_pixels(read_image_file(path), size)
        except (ImageError, OSError) as error:
            return str(error)

    with parallel_map(read, paths, threads=usable_cores(), ahead=SHARD_IMAGES) as decoded:
        yield from decoded


def read_shard(path: Path) -> Iterator[ShardRecord]:
    """Read every image of a shard and verify the checksums.

    Raises:
        FileNotFoundError: the shard does not exist.
        DamagedError: a checksum does not match.
    """
    try:
        raw = list(tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator())
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "shard not found", str(path)) from error
    except tf.errors.DataLossError as error:
        raise DamagedError(f"{path} is damaged: {_plain(error)}") from error
    if not raw:
        return iter(())
    features = tf.io.parse_example(raw, FEATURES)
    columns = (features[name].numpy() for name in ("data_set", "name", "image"))
    return ((data_set.decode(), name.decode(), image) for data_set, name, image in zip(*columns, strict=True))


def _plain(error: tf.errors.OpError) -> str:
    """Return the text of an error of TensorFlow without the operation that raised it."""
    return _OPERATION.sub("", error.message)


def _file(block: str, size: int) -> str:
    return f"{FOLDER}/{size}/{block}.tfrecord"


def _key(part: Sequence[SourceImage]) -> str:
    """Hash the files of the block, their order, and the versions of the format and of the pixels."""
    lines = [FORMAT, DECODING]
    for item in part:
        path = item.example.path
        state = path.stat() if path.is_file() else None
        lines.append(f"{item.data_set},{item.example.name},{path},{state and (state.st_size, state.st_mtime_ns)}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]


def _finished(
    out: AnyPath, parts: Mapping[str, Sequence[SourceImage]], sizes: Sequence[int]
) -> dict[str, ImageBlock | None]:
    """Return the complete blocks by key; None for those that must be decoded."""
    files = sizes_of(out / FOLDER)

    def read(key: str) -> ImageBlock | None:
        block = _read_block(out, key, files, sizes)
        return None if block is None or _has_changed(block, parts[key]) else block

    with parallel_map(read, parts, threads=READERS, ahead=READERS) as blocks:
        return dict(zip(parts, blocks, strict=True))


def _read_block(out: AnyPath, key: str, files: Mapping[str, int], sizes: Sequence[int]) -> ImageBlock | None:
    if f"{key}.json" not in files:
        return None
    try:
        block = ImageBlock.model_validate_json((out / FOLDER / f"{key}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return block if all(block.is_whole(size, files) for size in sizes) else None


def _has_changed(block: ImageBlock, part: Sequence[SourceImage]) -> bool:
    """Return whether a file that could not be read can be, or fails in another way."""

    def fault(path: Path) -> str:
        try:
            read_image_file(path)
        except OSError as error:
            return str(error)
        return ""

    return any(
        found.may_pass and fault(item.example.path) != found.fault
        for item, found in zip(part, block.found, strict=True)
    )


_Decoded = tuple[DecodedFile, list[Pixels]]


def _decode(item: SourceImage, sizes: Sequence[int]) -> _Decoded:
    try:
        data = read_image_file(item.example.path)
        pixels = read_pixels_at(data, sizes)
    except (ImageError, OSError) as error:
        # Refusals of `read_image_file` have no errno.
        may_pass = isinstance(error, OSError) and error.errno is not None
        return DecodedFile(sha256="", likeness="", fault=str(error), may_pass=may_pass), []
    file = DecodedFile(sha256=hashlib.sha256(data).hexdigest(), likeness=perceptual_hash(pixels[-1]), fault="")
    return file, pixels


def _write_block(
    out: AnyPath, key: str, sizes: Sequence[int], outcomes: Sequence[tuple[SourceImage, _Decoded]]
) -> ImageBlock:
    found = tuple(file for _, (file, _) in outcomes)
    name = _unfinished_name(key, found) if any(file.may_pass for file in found) else key
    lengths = {
        size: _write_shard(out / _file(name, size), [(item, pixels[index]) for item, (_, pixels) in outcomes if pixels])
        for index, size in enumerate(sizes)
    }
    block = ImageBlock(name=name, found=found, bytes=lengths, key=key)
    write_atomically(out / FOLDER / block.index, block.model_dump_json().encode())
    return block


def _unfinished_name(key: str, found: Sequence[DecodedFile]) -> str:
    """Return a name for the shards of a block in which files could not be read."""
    states = [key, *(file.sha256 or file.fault for file in found)]
    return f"{key[:6]}{hashlib.sha256(repr(states).encode()).hexdigest()[:12]}"


def _write_shard(shard: AnyPath, rows: Sequence[tuple[SourceImage, Pixels]]) -> int:
    """Write a shard and return its length in bytes."""
    try:
        with atomic_file(shard) as temporary:
            with tf.io.TFRecordWriter(os.fsencode(temporary)) as writer:
                for item, pixels in rows:
                    writer.write(_serialize(item, pixels))
            return temporary.stat().st_size
    except tf.errors.OpError as error:  # TensorFlow's own error for a full disk.
        raise StorageError(f"{shard} cannot be written: {_plain(error)}") from error


def _serialize(item: SourceImage, pixels: Pixels) -> bytes:
    feature = {
        "image": _bytes_feature(pixels.tobytes()),
        "name": _bytes_feature(item.example.name.encode()),
        "data_set": _bytes_feature(item.data_set.encode()),
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return serialized


def _bytes_feature(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
