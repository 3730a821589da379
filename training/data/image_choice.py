"""Choose the images that the records keep, and the split of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from training.data.dataset import ImageDataSet, Split
from training.data.image_table import ImageRow
from training.data.near_duplicates import group_near
from training.data.shards import DecodedFile, ImageBlock, SourceImage
from training.data.split import SplitImage, assign_splits
from training.data.split_shares import describe_skew
from training.errors import DataError


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
        DataError: no image is usable, or a data set is too small for both labels in every split.
    """
    found = [one for block in blocks for one in block.found]
    owners = _owners(items, found)
    kept = []
    for item, one in zip(items, found, strict=True):
        if one.fault:
            problems.append(f"{item.title} is left out: {one.fault}")
        elif (owner := owners[one.sha256]) is not item:
            conflict = "" if owner.example.glasses == item.example.glasses else ", which has the other label"
            problems.append(f"{item.title} is left out: it is the same file as {owner.title}{conflict}")
        else:
            kept.append((item, one))
    if not kept:
        raise DataError(f"no image is usable: {'; '.join(problems[:3])}")
    groups = group_near([one.likeness for _, one in kept])
    tested = {group for (item, _), group in zip(kept, groups, strict=True) if item.in_test}
    rows, placed = dict[str, list[ImageRow]](), dict[int, Split]()
    # Auxiliary data sets yield to the others.
    for data in sorted(datasets, key=lambda one: one.auxiliary):
        part = [
            (item, one, group) for (item, one), group in zip(kept, groups, strict=True) if item.data_set == data.name
        ]
        pictures = [SplitImage(bool(item.example.glasses), group, item.in_test) for item, _, group in part]
        with _explained(problems):
            splits = assign_splits(
                pictures, auxiliary=data.auxiliary, seed=seed, folder=data.folder, tested=tested, elsewhere=dict(placed)
            )
        problems += _remarks([item for item, _, _ in part], pictures, splits)
        chosen = [(*one, split) for one, split in zip(part, splits, strict=True) if split]
        rows[data.name] = [_row(item, split, one.sha256) for item, one, _, split in chosen]
        placed |= {group: split for _, _, group, split in chosen}
    return [row for data in datasets for row in rows[data.name]]


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


def _owners(items: Sequence[SourceImage], found: Sequence[DecodedFile]) -> dict[str, SourceImage]:
    """Return for each SHA-256 the image that keeps the file: the first one of a `test.csv`, or else the first."""
    owners = dict[str, SourceImage]()
    for item, one in zip(items, found, strict=True):
        if one.sha256 not in owners or (item.in_test and not owners[one.sha256].in_test):
            owners[one.sha256] = item
    return owners


def _row(item: SourceImage, split: Split, sha256: str) -> ImageRow:
    one = item.example
    return ImageRow(item.data_set, one.name, one.source, split, bool(one.glasses), bool(one.given), sha256)
