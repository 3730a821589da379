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
    units = _units(pictures, without=unseen | elsewhere.keys())
    split_of = _cut(units, _shares(auxiliary=auxiliary, has_test=bool(own)), seed)
    splits = [_split(picture, unseen, split_of) for picture in pictures]
    if not auxiliary and _lacks_a_label(pictures, splits):
        raise _too_few(units, folder)
    return splits


def _units(pictures: Sequence[SplitImage], *, without: Collection[int]) -> dict[int, bool]:
    """Return the label of the first image of each group."""
    return {picture.group: picture.glasses for picture in reversed(pictures) if picture.group not in without}


def _split(picture: SplitImage, unseen: Collection[int], split_of: Mapping[int, Split]) -> Split | None:
    if picture.group in unseen:
        return Split.TEST if picture.in_test else None
    return split_of.get(picture.group, Split.TRAIN)


def _shares(*, auxiliary: bool, has_test: bool) -> dict[Split, float]:
    shares = {} if has_test else {Split.TEST: TEST_SHARE}
    if not auxiliary:
        shares |= {Split.CALIBRATION: CALIBRATION_SHARE, Split.VALIDATION: VALIDATION_SHARE}
    return shares


def _cut(units: Mapping[int, bool], shares: Mapping[Split, float], seed: int) -> dict[int, Split]:
    """Cut off one split after another; calibration and validation shares refer to the images outside the test split.

    Returns the split of each group outside the training split: of none if a label has too few groups.
    """
    rest, split_of = sorted(units), dict[int, Split]()
    base = len(rest)
    for step, (split, share) in enumerate(shares.items()):
        labels = [units[group] for group in rest]
        try:
            rest, part = train_test_split(
                rest, test_size=round(base * share), random_state=seed + step, stratify=labels
            )
        except ValueError:  # scikit-learn's error for an empty part, or one that cannot hold both labels.
            return {}
        split_of |= dict.fromkeys(part, split)
        base = len(rest) if split is Split.TEST else base
    return split_of


def _check_test_labels(pictures: Sequence[SplitImage], folder: object) -> None:
    labels = [picture.glasses for picture in pictures if picture.in_test]
    if len(set(labels)) == 1:
        raise DataError(
            f"test.csv of {folder} is the test split, which needs both labels, but its {len(labels)} images are all "
            f"{'with' if labels[0] else 'without'} glasses: add images of the other label, or remove the column "
            "glasses there, so that the test split is cut from train.csv"
        )


def _lacks_a_label(pictures: Sequence[SplitImage], splits: Sequence[Split | None]) -> bool:
    filled = {(split, picture.glasses) for picture, split in zip(pictures, splits, strict=True)}
    return any((split, glasses) not in filled for split in Split for glasses in (True, False))


def _too_few(units: Mapping[int, bool], folder: object) -> DataError:
    glasses = sum(units.values())
    return DataError(
        f"{folder} cannot be split by label: train, validation, calibration and test need both labels each, but it has "
        f"{count(glasses, 'different image')} with glasses and {len(units) - glasses:,} without outside test.csv. Add "
        "images (10 of each label are enough to split), or name the folder as --auxiliary beside a larger --data"
    )
