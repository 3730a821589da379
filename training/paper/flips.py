"""Flip a seeded share of the labels, to measure what wrong labels do to every figure."""

from pathlib import Path

import numpy as np

from common.storage import write_atomically
from gate import Label
from training.data.csv_table import csv_text
from training.data.dataset import CORRECTIONS_FILE, UNCLEAR, ImageDataSet, read_corrections

REASON = "flipped on purpose"
REPEATED = "corrected in the data set"


def write_flips(data: ImageDataSet, table: Path, *, share: float, seed: int) -> int:
    """Write corrections that flip `share` of the labels of each table of `data`; return their number.

    The result has the form of `corrections.csv`, so the data set itself stays as it is. It repeats the data set's own
    corrections, and every flipped label is the opposite of the corrected one.
    """
    labelled = [[example for example in part if example.glasses is not None] for part in (data.train, data.test)]
    random = np.random.default_rng(seed)
    flipped: set[str] = set()
    for part in labelled:
        chosen = random.permutation(len(part))[: round(share * len(part))]
        flipped |= {part[index].name for index in chosen}
    rows = [["id", "label", "reason"]]
    for example in (*labelled[0], *labelled[1]):
        glasses = example.glasses != (example.name in flipped)
        if glasses != example.given:
            label = Label.GLASSES if glasses else Label.NO_GLASSES
            rows.append([example.name, label, REASON if example.name in flipped else REPEATED])
    known = read_corrections(data.folder / CORRECTIONS_FILE, required=False)
    rows += ([name, UNCLEAR, REPEATED] for name, correction in known.items() if correction.glasses is None)
    write_atomically(table, csv_text(rows).encode())
    return len(flipped)
