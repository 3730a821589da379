import pytest

from gate import Reason
from service.metrics.snapshot import BINS, Counts, Distribution
from service.pages.history import LATENCY_STEPS, SCORES, STEPS, History, RecentScores, Tick
from service.pages.snapshot import show_history


def counts(accepted: int = 0, uncertain: int = 0) -> Counts:
    reasons = dict.fromkeys(Reason, 0) | {Reason.CONFIDENT: accepted, Reason.UNCERTAIN: uncertain}
    return Counts(reasons, (0,) * BINS, shed=0, errors=0)


def tick(at: float, accepted: int = 0, uncertain: int = 0) -> Tick:
    return Tick(1_000 + at, at, counts(accepted, uncertain))


def bins(first: int, last: int = 0) -> tuple[int, ...]:
    return (first, *(0,) * (BINS - 2), last)


def history_of(*ticks: Tick) -> History:
    history = History()
    for each in ticks:
        history.add(each, {})
    return history


def test_step_is_the_difference_of_two_ticks() -> None:
    history = history_of(tick(0), tick(5, 10, 1), tick(10, 30, 4))
    shown = show_history(history.steps(tick(10, 30, 4)))
    assert shown.decisions == [11, 23]
    assert shown.uncertain == [1, 3]
    assert shown.times == [1005, 1010]


def test_the_last_step_goes_on_until_now_so_that_it_is_never_a_moment_long() -> None:
    history = history_of(tick(0), tick(5, 10), tick(10, 20))
    shown = show_history(history.steps(tick(10.1, 25)))
    assert shown.seconds == pytest.approx([5, 5.1])
    assert shown.decisions == [10, 15]


def test_what_happened_before_the_second_tick_is_shown_as_well() -> None:
    assert show_history(history_of(tick(0)).steps(tick(2, 6))).decisions == [6]


def test_ring_drops_the_oldest_tick() -> None:
    history = history_of(*(tick(5.0 * index, index) for index in range(3 * STEPS)))
    shown = show_history(history.steps(tick(5.0 * 3 * STEPS)))
    assert len(shown.times) == STEPS
    assert shown.times[0] == 1_000 + 5 * (2 * STEPS)


def test_latencies_are_of_the_last_steps_alone() -> None:
    history = History()
    for index in range(LATENCY_STEPS + 5):
        history.add(tick(index), {"decode": Distribution((0.1,), (index, 0), total=0.0)})
    assert history.latencies()["decode"].count == LATENCY_STEPS


def test_scores_of_a_version_that_served_from_the_start_are_all_its_own() -> None:
    assert RecentScores().add(bins(7), model="a") == bins(7)


def test_scores_look_back_on_the_last_thousand_and_at_most_one_look_more() -> None:
    recent = RecentScores()
    for total in range(0, 50 * SCORES, 100):
        found = recent.add(bins(total), model="a")
    assert sum(found) == SCORES
    assert sum(recent.add(bins(50 * SCORES, 60), model="a")) == SCORES + 60


def test_another_version_begins_with_no_scores() -> None:
    recent = RecentScores()
    recent.add(bins(40), model="a")
    assert recent.add(bins(40), model="b") == bins(0)
    assert recent.add(bins(40, 3), model="b") == bins(0, 3)


def test_a_histogram_that_was_replaced_for_another_band_begins_at_nothing() -> None:
    recent = RecentScores()
    recent.add(bins(40), model="a")
    assert recent.add(bins(2), model="b") == bins(2)


def test_a_look_without_new_scores_costs_no_memory() -> None:
    recent = RecentScores()
    for _ in range(100):
        recent.add(bins(5), model="a")
    assert recent.add(bins(5), model="a") == bins(5)
