"""Choose the images that the records keep, and the split of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from training.data.dataset import ImageDataSet, Split
from training.data.image_table import ImageRow
from training.data.near_duplicates import group_near
from training.data.shards import DecodedFile, ImageBlock, SourceImage
from training.data.split import SplitImage, assign_splits
from training.data.split_shares import describe_skew
from training.errors import DataError


@dataclass(frozen=True, slots=True)
class _KeptImage:
    """A readable image that is not a copy, and its group of near-duplicates."""

    item: SourceImage
    file: DecodedFile
    group: int


def keep_images(
    datasets: Sequence[ImageDataSet],
    items: Sequence[SourceImage],
    blocks: Sequence[ImageBlock],
    *,
    seed: int,
    problems: list[str],
) -> list[ImageRow]:
    """Return the table rows of the kept images; append a line to `problems` for each of the others.

    A data set whose splits differ in their share of glasses adds a line as well.

    An image is left out if its file is unreadable or a copy of another one, or if it is a near-duplicate of an image
    that must stay unseen.

    Raises:
        DataError: no image is usable, or none of a `test.csv`, or a data set is too small for both labels in every
            split.
    """
    files = [file for block in blocks for file in block.found]
    distinct = _distinct(items, files, problems)
    if not distinct:
        raise DataError(f"no image is usable: {'; '.join(problems[:3])}")
    _refuse_unreadable_tests(items, files)
    groups = group_near([file.likeness for _, file in distinct])
    kept = [_KeptImage(*pair, group) for pair, group in zip(distinct, groups, strict=True)]
    tested = {image.group for image in kept if image.item.in_test}
    rows, placed = dict[str, list[ImageRow]](), dict[int, Split]()
    # Auxiliary data sets yield to the others.
    for data in sorted(datasets, key=lambda each: each.auxiliary):
        images = [image for image in kept if image.item.data_set == data.name]
        pictures = [SplitImage(bool(image.item.example.glasses), image.group, image.item.in_test) for image in images]
        with _explained(problems):
            splits = assign_splits(
                pictures, auxiliary=data.auxiliary, seed=seed, folder=data.folder, tested=tested, elsewhere=dict(placed)
            )
        problems += _remarks([image.item for image in images], pictures, splits)
        chosen = [(image, split) for image, split in zip(images, splits, strict=True) if split]
        rows[data.name] = [_row(image, split) for image, split in chosen]
        placed |= {image.group: split for image, split in chosen}
    return [row for data in datasets for row in rows[data.name]]


def _distinct(
    items: Sequence[SourceImage], files: Sequence[DecodedFile], problems: list[str]
) -> list[tuple[SourceImage, DecodedFile]]:
    """Return the readable images without copies; name those left out in `problems`."""
    owners = _owners(items, files)
    distinct = []
    for item, file in zip(items, files, strict=True):
        if file.fault:
            problems.append(f"{item.title} is left out: {file.fault}")
        elif (owner := owners[file.sha256]) is not item:
            conflict = "" if owner.example.glasses == item.example.glasses else ", which has the other label"
            problems.append(f"{item.title} is left out: it is the same file as {owner.title}{conflict}")
        else:
            distinct.append((item, file))
    return distinct


def _refuse_unreadable_tests(items: Sequence[SourceImage], files: Sequence[DecodedFile]) -> None:
    """Refuse a `test.csv` of unreadable images: the test split would be cut from `train.csv` in its place."""
    readable = {item.data_set for item, file in zip(items, files, strict=True) if item.in_test and not file.fault}
    for item, file in zip(items, files, strict=True):
        if item.in_test and item.data_set not in readable:
            raise DataError(f"no image of test.csv is usable: {item.title}: {file.fault}; correct or remove its labels")


@contextmanager
def _explained(problems: Sequence[str]) -> Iterator[None]:
    """Add to an error the images that are left out: they may be its cause, and are printed after a success alone."""
    try:
        yield
    except DataError as error:
        if not problems:
            raise
        raise DataError(
            f"{error}. Rows and files that are left out ({len(problems):,}): {'; '.join(problems[:3])}"
        ) from error


def _remarks(
    items: Sequence[SourceImage], pictures: Sequence[SplitImage], splits: Sequence[Split | None]
) -> Iterator[str]:
    """Yield a line for each image of a data set that is left out, and one if its splits differ in their labels."""
    for item, split in zip(items, splits, strict=True):
        if split is None:
            yield f"{item.title} is left out: it is nearly the same as an image of another split or set"
    if skew := describe_skew(pictures, splits, [item.example.name for item in items]):
        yield f"{items[0].data_set}: {skew}"


def _owners(items: Sequence[SourceImage], files: Sequence[DecodedFile]) -> dict[str, SourceImage]:
    """Return for each SHA-256 the image that keeps the file: the first one of a `test.csv`, or else the first."""
    owners = dict[str, SourceImage]()
    for item, file in zip(items, files, strict=True):
        if file.sha256 not in owners or (item.in_test and not owners[file.sha256].in_test):
            owners[file.sha256] = item
    return owners


def _row(image: _KeptImage, split: Split) -> ImageRow:
    item, example = image.item, image.item.example
    return ImageRow(
        item.data_set,
        example.name,
        example.source,
        split,
        glasses=bool(example.glasses),
        given=bool(example.given),
        sha256=image.file.sha256,
    )
