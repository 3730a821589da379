"""Train, validation and test: stratified by label, and the same for the same seed."""

from sklearn.model_selection import train_test_split

from training.dataset import DataSet, Example, Split
from training.errors import DataError

VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15


def split_dataset(data: DataSet, *, seed: int) -> dict[Split, list[Example]]:
    """Divide a data set. A `test.csv` with labels is the test split; without one it is cut from `train.csv`.

    Raises:
        DataError: a label has too few images to be in every split.
    """
    test = [example for example in data.test if example.glasses is not None]
    rest = list(data.train)
    try:
        if not test:
            rest, test = _cut(rest, TEST_SHARE, seed)
        train, validation = _cut(rest, VALIDATION_SHARE, seed + 1)
    except ValueError as error:
        raise DataError(f"{data.folder} cannot be split by label: {error}") from error
    splits = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
    for split, examples in splits.items():
        if len({example.glasses for example in examples}) < 2:
            raise DataError(f"{data.folder} cannot be split by label: its {split} split would lack one of the two")
    return splits


def _cut(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    labels = [example.glasses for example in examples]
    kept, cut = train_test_split(examples, test_size=share, random_state=seed, stratify=labels)
    return list(kept), list(cut)
