"""The guide to own data states the splits that the Kaggle set gets."""

import re
from collections import Counter

from tests.docs.pages import DOCS, read
from training.data.split import SplitImage, assign_splits

ROW = re.compile(r"^ +\| (\w+) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)


def test_counts_of_the_kaggle_set_are_those_of_the_split() -> None:
    labels = [number < 2857 for number in range(4500)]
    pictures = [SplitImage(glasses, number, in_test=False) for number, glasses in enumerate(labels)]
    splits = assign_splits(pictures, auxiliary=False, seed=0, folder="kaggle")
    counts = Counter(zip(map(str, splits), labels, strict=True))
    stated = ROW.findall(read(DOCS / "guides/own-data.md"))
    found = [(name, f"{counts[name, True]:,}", f"{counts[name, False]:,}") for name, _, _ in stated]
    assert stated == found
    assert sum(counts.values()) == sum(counts[name, glasses] for name, _, _ in found for glasses in (True, False))
