from collections import Counter
from collections.abc import KeysView

import pytest

from training.data.dataset import Split
from training.data.split import SplitImage, assign_splits
from training.data.split_shares import describe_skew
from training.errors import DataError


def pictures(count: int, *, tested: int = 0, every: int = 5) -> list[SplitImage]:
    """`count` pictures, one in `every` with glasses, each a group of its own; the first `tested` are a test's."""
    return [SplitImage(index % every == 0, index, index < tested) for index in range(count)]


def split(given: list[SplitImage], *, seed: int = 0, auxiliary: bool = False) -> list[Split | None]:
    return assign_splits(given, auxiliary=auxiliary, seed=seed, folder="here")


def test_a_split_is_stratified_complete_and_repeats_with_its_seed() -> None:
    given = pictures(200)
    found = split(given, seed=3)
    assert Counter(found) == {Split.TRAIN: 127, Split.VALIDATION: 17, Split.CALIBRATION: 26, Split.TEST: 30}
    for part in Split:
        labels = [one.glasses for one, its in zip(given, found, strict=True) if its is part]
        assert sum(labels) / len(labels) == pytest.approx(0.2, abs=0.05)
    assert split(given, seed=3) == found
    assert split(given, seed=4) != found


def test_a_labelled_test_table_is_the_test_split() -> None:
    found = split(pictures(100, tested=20))
    assert found[:20] == [Split.TEST] * 20
    assert Split.TEST not in found[20:]


def test_a_test_table_of_one_label_is_named_and_not_the_training_images() -> None:
    given = [*pictures(100), *(SplitImage(False, 100 + index, True) for index in range(20))]
    with pytest.raises(DataError, match=r"test\.csv of here .* its 20 images are all without glasses"):
        split(given)
    assert split(given, auxiliary=True)[100:] == [Split.TEST] * 20


def test_the_groups_of_other_data_sets_are_gathered_once_not_for_each_picture() -> None:
    class CountedSplits(dict[int, Split]):
        gathered = 0

        def keys(self) -> KeysView[int]:  # type: ignore[override]
            self.gathered += 1
            return super().keys()

    elsewhere = CountedSplits(dict.fromkeys(range(1_000, 2_000), Split.TRAIN))
    assign_splits(pictures(200), auxiliary=False, seed=0, folder="here", elsewhere=elsewhere)
    assert elsewhere.gathered <= 1


def test_an_auxiliary_data_set_is_learned_from_and_tested_on_alone() -> None:
    assert Counter(split(pictures(100), auxiliary=True)) == {Split.TRAIN: 85, Split.TEST: 15}


def test_pictures_that_are_nearly_the_same_stay_together() -> None:
    given = [SplitImage(index % 2 == 0, index // 4 * 2 + index % 2, False) for index in range(400)]
    found = split(given)
    for group in {one.group for one in given}:
        assert len({its for one, its in zip(given, found, strict=True) if one.group == group}) == 1


def test_what_is_near_to_a_test_picture_is_not_learned_from() -> None:
    given = [*pictures(100, tested=20), SplitImage(False, 3, False)]
    assert split(given)[-1] is None


def test_a_copy_in_another_data_set_is_trained_on_only_if_its_original_is() -> None:
    first = pictures(100)
    placed = {group: its for group, its in enumerate(split(first)) if its is not None}
    tested = next(group for group, its in placed.items() if its is Split.TEST)
    trained = next(group for group, its in placed.items() if its is Split.TRAIN)
    copies = [SplitImage(False, tested, False), SplitImage(False, trained, False)]
    fresh = [SplitImage(index % 2 == 0, 1000 + index, False) for index in range(100)]
    found, learned = (
        assign_splits([*copies, *fresh], auxiliary=auxiliary, seed=0, folder="there", elsewhere=placed)
        for auxiliary in (False, True)
    )
    assert found[:2] == [None, Split.TRAIN]
    assert learned[:2] == [None, None]  # A fold of the cross-fit may hold the original out.
    found = assign_splits(first, auxiliary=False, seed=0, folder="here", tested={7})
    assert [index for index, its in enumerate(found) if its is None] == [7]


@pytest.mark.parametrize("labels", [[True], [True] * 3, [True] * 30 + [False]])
def test_an_auxiliary_data_set_that_is_too_small_to_be_split_is_trained_on(labels: list[bool]) -> None:
    given = [SplitImage(glasses, group, False) for group, glasses in enumerate(labels)]
    assert set(split(given, auxiliary=True)) == {Split.TRAIN}


def test_an_auxiliary_data_set_may_have_one_label_alone() -> None:
    given = [SplitImage(True, group, False) for group in range(30)]
    assert Counter(split(given, auxiliary=True)) == {Split.TRAIN: 26, Split.TEST: 4}


@pytest.mark.parametrize(("glasses", "others"), [(0, 0), (1, 99), (2, 98), (3, 3), (0, 50)])
def test_a_data_set_with_too_few_of_a_label_says_how_many_are_needed(glasses: int, others: int) -> None:
    given = [SplitImage(index < glasses, index, False) for index in range(glasses + others)]
    with pytest.raises(DataError, match=rf"{glasses} different images? with glasses and {others} without .*10 of each"):
        split(given)


@pytest.mark.parametrize("others", range(10, 60))
def test_ten_images_of_each_label_can_be_split(others: int) -> None:
    for seed in range(3):
        found = split([SplitImage(index < 10, index, False) for index in range(10 + others)], seed=seed)
        assert set(found) == set(Split)


def described(given: list[SplitImage], *, seed: int = 0, auxiliary: bool = False) -> str:
    names = [f"face-{index}" for index in range(len(given))]
    return describe_skew(given, split(given, seed=seed, auxiliary=auxiliary), names)


def test_a_large_group_that_skews_a_split_is_described_with_numbers() -> None:
    given = [*pictures(400, every=2), *[SplitImage(True, 7, False)] * 120]
    for seed in range(20):
        found = split(given, seed=seed)
        said = described(given, seed=seed)
        (chosen,) = {its for one, its in zip(given, found, strict=True) if one.group == 7}
        mine = [one.glasses for one, its in zip(given, found, strict=True) if its is chosen]
        if chosen is Split.TRAIN:
            continue
        assert f"{chosen} {100 * sum(mine) / len(mine):.1f} % ({sum(mine)} of {len(mine)})" in said
        assert f"121 like face-7 are in {chosen}" in said


@pytest.mark.parametrize("count", [20, 200])
@pytest.mark.parametrize("every", [2, 5, 9])
def test_a_stratified_split_is_no_skew(count: int, every: int) -> None:
    for seed in range(5):
        assert described(pictures(count * every, every=every), seed=seed) == ""


def test_a_test_table_with_another_share_is_its_authors_choice() -> None:
    given = [SplitImage(index < 90, index, True) for index in range(100)] + pictures(200)[100:]
    assert described(given) == ""
    assert described([SplitImage(True, index, False) for index in range(50)], auxiliary=True) == ""


@pytest.mark.parametrize("pairs", [0, 1, 3])
def test_skewed_split_names_copies_of_another_data_set_as_its_cause(pairs: int) -> None:
    given = [SplitImage(True, index, False) for index in range(200)] + pictures(600, every=4)[200:]
    given += [SplitImage(False, 300 + index, False) for index in range(pairs)]
    placed = dict.fromkeys(range(200), Split.TRAIN)
    found = assign_splits(given, auxiliary=False, seed=0, folder="here", elsewhere=placed)
    said = describe_skew(given, found, [f"face-{index}" for index in range(len(given))])
    assert said.endswith("Images that another data set has too share its split: remove them from one of the two")
