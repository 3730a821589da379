"""Compare the share of glasses between the splits of a data set: a large group of near-duplicates can skew it."""

from collections import Counter
from collections.abc import Sequence

from common.statistics import fisher_exact, holm
from training.data.dataset import Split
from training.data.split import SplitImage

SIGNIFICANCE = 0.001
"""Splits are stratified, so that their shares differ by less than chance unless near-duplicates stay together."""

_Count = tuple[int, int]
"""Images with glasses, and all images."""

_Placed = tuple[SplitImage, Split, str]
"""An image with its split and its name."""


def describe_skew(pictures: Sequence[SplitImage], splits: Sequence[Split | None], names: Sequence[str]) -> str:
    """Describe the splits whose share of glasses differs from that of the others by more than chance; "" if none does.

    A labelled `test.csv` was split by its author and is left out.

    Args:
        pictures: the images of the data set.
        splits: the split of each, None for an image that was left out.
        names: the name of each.
    """
    cut = [(one, split, name) for one, split, name in zip(pictures, splits, names, strict=True)
           if split and not one.in_test]  # fmt: skip
    skewed = _skewed(cut)
    if not skewed:
        return ""
    counts, whole = _counts(cut), _count([one for one, *_ in cut])
    shares = [*(f"{split} {_share(counts[split])}" for split in skewed), f"all splits {_share(whole)}"]
    return f"the share of glasses differs by more than chance: {', '.join(shares)}. {_advice(cut, skewed)}"


def _advice(cut: Sequence[_Placed], skewed: Sequence[Split]) -> str:
    of_each_group = {one.group: (one, split, name) for one, split, name in reversed(cut)}
    if _skewed(list(of_each_group.values())):
        return "Images that another data set has too share its split: remove them from one of the two"
    group, size = Counter(one.group for one, split, _ in cut if split in skewed).most_common(1)[0]
    _, split, name = of_each_group[group]
    return (
        f"Near-duplicates share a split, and {size} like {name} are in {split}: keep only a few of them in train.csv, "
        "or try another --seed"
    )


def _skewed(cut: Sequence[_Placed]) -> list[Split]:
    counts, whole = _counts(cut), _count([one for one, *_ in cut])
    rest = [(whole[0] - glasses, whole[1] - images) for glasses, images in counts.values()]
    chance = holm([fisher_exact(one, other) for one, other in zip(counts.values(), rest, strict=True)])
    return [split for split, value in zip(counts, chance, strict=True) if value < SIGNIFICANCE]


def _counts(cut: Sequence[_Placed]) -> dict[Split, _Count]:
    counts = {split: _count([one for one, part, _ in cut if part is split]) for split in Split}
    return {split: count for split, count in counts.items() if count[1]}


def _count(pictures: Sequence[SplitImage]) -> _Count:
    return sum(one.glasses for one in pictures), len(pictures)


def _share(count: _Count) -> str:
    glasses, images = count
    return f"{100 * glasses / images:.1f} % ({glasses} of {images})"
