"""A broken source is named soon, and an equal one is not."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from common.source_report import BINS, EDGES, LEVEL, MIN_IMAGES, Cell, Comparison, bin_of, compare_sources
from gate import Label, Reason

HONEST = {Reason.CONFIDENT: 0.92, Reason.UNCERTAIN: 0.04, Reason.CONTRADICTED: 0.03, Reason.UNFAMILIAR: 0.01}
BROKEN = {
    "ignores its order": {Reason.CONFIDENT: 0.70, Reason.CONTRADICTED: 0.25, Reason.UNCERTAIN: 0.04},
    "draws no faces": {Reason.CONFIDENT: 0.70, Reason.UNFAMILIAR: 0.23, Reason.UNCERTAIN: 0.04},
    "fails in several ways": {
        Reason.CONFIDENT: 0.65,
        Reason.UNCERTAIN: 0.14,
        Reason.CONTRADICTED: 0.11,
        Reason.UNFAMILIAR: 0.10,
    },
    "draws half frames": {Reason.CONFIDENT: 0.70, Reason.UNCERTAIN: 0.27, Reason.CONTRADICTED: 0.03},
}
SOURCES = [f"source-{number}" for number in range(6)]
ILL = SOURCES[2]


def reports(seed: int, ill: Mapping[Reason, float], *, images: int, step: int) -> Iterator[tuple[int, Comparison]]:
    """A report after every `step` images of each source, of which one is `ill`."""
    rng = random.Random(seed)
    counts: Counter[Cell] = Counter()
    for done in range(step, images + 1, step):
        for source in SOURCES:
            weights = ill if source == ILL else HONEST
            for reason in rng.choices(list(weights), list(weights.values()), k=step):
                counts[Cell(source, rng.choice(list(Label)), rng.randrange(BINS), reason)] += 1
        yield done, compare_sources(counts, limit=100)


def broken(report: Comparison) -> list[str | None]:
    return [one.source for one in report.sources if one.is_broken]


def cells(
    source: str | None, *, contradicted: int, images: int, expected: Label | None = Label.GLASSES
) -> Counter[Cell]:
    accepted = Cell(source, expected, 9, Reason.CONFIDENT)
    return Counter({accepted: images - contradicted, accepted._replace(reason=Reason.CONTRADICTED): contradicted})


@pytest.mark.parametrize("ill", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("seed", range(3))
def test_a_broken_source_is_named_within_200_images_and_no_other_is(seed: int, ill: Mapping[Reason, float]) -> None:
    named = [broken(report) for _, report in reports(seed, ill, images=200, step=40)]
    assert [ILL] in named
    assert all(each in ([], [ILL]) for each in named)


@pytest.mark.parametrize("seed", range(4))
def test_equal_sources_are_not_named(seed: int) -> None:
    assert not any(
        one.differences for _, report in reports(seed, HONEST, images=600, step=100) for one in report.sources
    )


def test_a_source_with_few_images_has_wide_intervals_and_is_not_compared() -> None:
    few = MIN_IMAGES - 1
    counts = cells("few", contradicted=few, images=few) + cells("many", contradicted=20, images=1_000)
    report = compare_sources(counts, limit=10)
    (one,) = [each for each in report.sources if each.source == "few"]
    assert (one.is_compared, one.is_broken, report.tests) == (False, False, 0)
    assert one.accepted.upper - one.accepted.lower > 0.15
    assert one.contradicted.ratio == 1


def test_a_source_is_compared_with_images_of_the_same_order() -> None:
    """Images with glasses contradict more often. A source that sends only those is no worse than the others."""
    counts = Counter[Cell]()
    for source, glasses, bare in (("a", 400, 0), ("b", 200, 800), ("c", 200, 800)):
        counts += cells(source, contradicted=glasses // 5, images=glasses)
        counts += cells(source, contradicted=bare // 100, images=bare, expected=Label.NO_GLASSES)
    report = compare_sources(counts, limit=10)
    assert not any(one.differences for one in report.sources)
    worse = counts + cells("a", contradicted=150, images=200)
    assert broken(compare_sources(worse, limit=10)) == ["a"]


def test_a_small_difference_is_shown_and_does_not_alarm() -> None:
    counts = cells("a", contradicted=4_000, images=100_000) + cells("b", contradicted=2_000, images=100_000)
    report = compare_sources(counts, limit=10)
    assert broken(report) == []
    first, second = sorted(report.sources, key=lambda one: str(one.source))
    assert first.differences[0].ratio == second.differences[0].others_ratio == 0.04
    assert first.differences[0].p_value < LEVEL


def test_sources_that_are_not_shown_count_as_others() -> None:
    counts = cells("a", contradicted=60, images=200)
    for number in range(50):
        counts += cells(f"small-{number}", contradicted=1, images=20)
    report = compare_sources(counts, limit=1)
    assert (report.images, report.source_count, broken(report)) == (1_200, 51, ["a"])
    assert report.sources[0].differences[0].others_ratio == 0.05


def test_outcomes_add_up_by_expected_label_and_bin() -> None:
    counts = Counter(
        {
            Cell(None, None, 0, Reason.CONFIDENT): 5,
            Cell(None, None, 5, Reason.UNCERTAIN): 3,
            Cell(None, Label.NO_GLASSES, 9, Reason.UNFAMILIAR): 2,
        }
    )
    (one,) = compare_sources(counts, limit=10).sources
    assert one.source is None
    assert (one.images, one.accepted.images, one.uncertain.images, one.unfamiliar.images) == (10, 5, 3, 2)
    assert [(group.expected, group.images) for group in one.expected] == [(Label.NO_GLASSES, 2), (None, 8)]
    assert [(each.low, each.images) for each in one.expected[1].bins] == [(0, 5), (0.5, 3)]
    assert compare_sources({}, limit=10).sources == []


def test_every_probability_has_one_bin() -> None:
    found = [bin_of(probability) for probability in (0.0, 0.0999, *EDGES, 0.9999, 1.0)]
    assert found == [0, 0, *range(1, BINS), BINS - 1, BINS - 1]
