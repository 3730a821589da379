"""Divide labelled images into folds: stratified by label, near-duplicates together."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from gate import Label
from training.data.near_duplicates import group_near, perceptual_hash
from training.data.records import Records
from training.errors import DataError

Mask = NDArray[np.bool_]


def split_folds(records: Records, *, folds: int, seed: int) -> list[Mask]:
    """Return one held-out mask `[N]` per fold: stratified by label, near-duplicates together.

    Raises:
        DataError: a label has fewer distinct images than there are folds.
    """
    groups = np.array(group_near([perceptual_hash(image) for image in records.images]), np.int64)
    for label in Label:
        different = len(set(groups[records.labels == (label is Label.GLASSES)]))
        if different < folds:
            raise DataError(f"{different} distinct images are labelled {label}: too few for {folds} folds")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    chosen = splitter.split(records.images, records.labels, groups)
    return [np.isin(np.arange(len(records)), held_out) for _, held_out in chosen]
