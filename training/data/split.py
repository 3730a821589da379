"""Split into train, validation, calibration and test: stratified by label, near-duplicates together, seeded."""

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.model_selection import train_test_split

from training.data.dataset import Split
from training.errors import DataError

TEST_SHARE = 0.15
CALIBRATION_SHARE = 0.15
"""Share of the images outside the test split. `certify --folds` also counts the others, each for another network."""
VALIDATION_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class SplitImage:
    """The properties that decide the split: label, group of near-duplicates, and membership in `test.csv`."""

    glasses: bool
    group: int
    in_test: bool


def assign_splits(pictures: Sequence[SplitImage], *, auxiliary: bool, seed: int, folder: object) -> list[Split | None]:
    """Assign a split to each image of a data set; None for a near-duplicate of a test image.

    Labelled images of `test.csv` form the test split; without any, a share is cut off. An auxiliary data set has
    neither validation nor calibration split. A group of near-duplicates is one unit, with the label of its first image.

    Raises:
        DataError: a label has too few images for every split.
    """
    tested = {picture.group for picture in pictures if picture.in_test}
    units = {one.group: one.glasses for one in reversed(pictures) if one.group not in tested}
    shares = {} if tested else {Split.TEST: TEST_SHARE}
    if not auxiliary:
        shares |= {Split.CALIBRATION: CALIBRATION_SHARE, Split.VALIDATION: VALIDATION_SHARE}
    try:
        of_group = _cut(units, shares, seed)
    except ValueError as error:
        raise DataError(f"{folder} cannot be split by label: {error}") from error
    splits = [(Split.TEST if one.in_test else None) if one.group in tested else of_group[one.group] for one in pictures]
    _check(pictures, splits, auxiliary=auxiliary, folder=folder)
    return splits


def _cut(units: dict[int, bool], shares: dict[Split, float], seed: int) -> dict[int, Split]:
    """Cut off one split after another; calibration and validation shares refer to the images outside the test split."""
    rest, found = sorted(units), dict[int, Split]()
    base = len(rest)
    for step, (split, share) in enumerate(shares.items()):
        count = round(base * share)
        labels = [units[group] for group in rest]
        rest, cut = train_test_split(rest, test_size=count, random_state=seed + step, stratify=labels)
        found |= dict.fromkeys(cut, split)
        base = len(rest) if split is Split.TEST else base
    return found | dict.fromkeys(rest, Split.TRAIN)


def _check(pictures: Sequence[SplitImage], splits: Sequence[Split | None], *, auxiliary: bool, folder: object) -> None:
    for split in (Split.TRAIN, Split.TEST) if auxiliary else Split:
        labels = {one.glasses for one, its in zip(pictures, splits, strict=True) if its is split}
        if len(labels) < 2:
            raise DataError(f"{folder} cannot be split by label: its {split} split would lack one of the two labels")
