"""Split into train, validation, calibration and test: stratified by label, near-duplicates together, seeded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sklearn.model_selection import train_test_split

from common.terminal import count
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


def assign_splits(
    pictures: Sequence[SplitImage],
    *,
    auxiliary: bool,
    seed: int,
    folder: object,
    tested: Collection[int] = (),
    elsewhere: Mapping[int, Split] | None = None,
) -> list[Split | None]:
    """Assign a split to each image of a data set; None for a near-duplicate of an image that must stay unseen.

    Labelled images of `test.csv` form the test split; without any, a share is cut off. An auxiliary data set has
    neither validation nor calibration split, and too few images of a label leave it without a test split. A group of
    near-duplicates is one unit, with the label of its first image. A group that another data set trains on is trained
    on here as well, except in an auxiliary data set: cross-fitting holds those images out later.

    Args:
        pictures: the images of the data set.
        auxiliary: whether it is only trained and tested on.
        seed: equal seeds give equal splits.
        folder: names the data set in errors.
        tested: the groups of the `test.csv` of all data sets.
        elsewhere: the splits of groups in other data sets.

    Raises:
        DataError: a label has too few images for every split.
    """
    if not auxiliary:
        _check_test_labels(pictures, folder)
    elsewhere = elsewhere or {}
    own = {picture.group for picture in pictures if picture.in_test}
    unseen = own.union(tested, (group for group, split in elsewhere.items() if auxiliary or split is not Split.TRAIN))
    units = {one.group: one.glasses for one in reversed(pictures) if one.group not in unseen | elsewhere.keys()}
    shares = {} if own else {Split.TEST: TEST_SHARE}
    if not auxiliary:
        shares |= {Split.CALIBRATION: CALIBRATION_SHARE, Split.VALIDATION: VALIDATION_SHARE}
    try:
        of_group = _cut(units, shares, seed)
    except ValueError as error:
        if not auxiliary:
            raise _too_few(units, folder) from error
        of_group = {}
    splits = [
        (Split.TEST if one.in_test else None) if one.group in unseen else of_group.get(one.group, Split.TRAIN)
        for one in pictures
    ]
    if not auxiliary and _lacks_a_label(pictures, splits):
        raise _too_few(units, folder)
    return splits


def _cut(units: dict[int, bool], shares: dict[Split, float], seed: int) -> dict[int, Split]:
    """Cut off one split after another; calibration and validation shares refer to the images outside the test split."""
    rest, found = sorted(units), dict[int, Split]()
    base = len(rest)
    for step, (split, share) in enumerate(shares.items()):
        size = round(base * share)
        labels = [units[group] for group in rest]
        rest, cut = train_test_split(rest, test_size=size, random_state=seed + step, stratify=labels)
        found |= dict.fromkeys(cut, split)
        base = len(rest) if split is Split.TEST else base
    return found


def _check_test_labels(pictures: Sequence[SplitImage], folder: object) -> None:
    labels = [one.glasses for one in pictures if one.in_test]
    if len(set(labels)) == 1:
        raise DataError(
            f"test.csv of {folder} is the test split, which needs both labels, but its {len(labels)} images are all "
            f"{'with' if labels[0] else 'without'} glasses: add images of the other label, or remove the column "
            "glasses there, so that the test split is cut from train.csv"
        )


def _lacks_a_label(pictures: Sequence[SplitImage], splits: Sequence[Split | None]) -> bool:
    found = {(split, one.glasses) for one, split in zip(pictures, splits, strict=True)}
    return any((split, glasses) not in found for split in Split for glasses in (True, False))


def _too_few(units: Mapping[int, bool], folder: object) -> DataError:
    glasses = sum(units.values())
    return DataError(
        f"{folder} cannot be split by label: train, validation, calibration and test need both labels each, but it has "
        f"{count(glasses, 'different image')} with glasses and {len(units) - glasses:,} without outside test.csv. Add "
        "images (10 of each label are enough to split), or name the folder as --auxiliary beside a larger --data"
    )
