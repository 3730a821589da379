import itertools
import threading
from concurrent.futures import Future, wait
from functools import partial

import numpy as np
import pytest

from gate.scorer import Scores
from service.errors import NotReady
from service.inference.batcher import Batcher, Item, Scored
from tests.support.images import flat
from tests.support.servers import TIMEOUT, FakeScorer, wait_until


class Observer:
    """Keeps the reports of a batcher."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.batches: list[tuple[int, float]] = []

    def observe_wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def observe_batch(self, images: int, seconds: float) -> None:
        self.batches.append((images, seconds))


class Harness:
    """A batcher with a fake model that is held until the test lets it go."""

    def __init__(self, **options: object) -> None:
        self.scorer, self.observer, self.now = FakeScorer(), Observer(), 0.0
        arguments = {"max_batch_size": 4, "clock": lambda: self.now, **options}
        self.batcher = Batcher(self.scorer, self.observer, **arguments)  # type: ignore[arg-type]
        self.batcher.start()

    def hold(self) -> "Future[Scored]":
        """Submit a first image and wait until the model is busy with it."""
        self.scorer.go.clear()
        self.scorer.entered.clear()
        first = self.submit(0)
        assert self.scorer.entered.wait(TIMEOUT)
        return first

    def submit(self, value: int, **options: float) -> "Future[Scored]":
        return self.enter(value, **options)[1]

    def enter(self, value: int, **options: float) -> tuple[Item, "Future[Scored]"]:
        """Submit, for those who may drop it again."""
        future: Future[Scored] = Future()

        def done(outcome: Scored | Exception) -> None:
            # A future takes one outcome: of a second the log would tell.
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        return self.batcher.submit(flat(value, 8)[None], done, **options), future

    def close(self) -> None:
        self.scorer.go.set()
        self.batcher.close()


def probability(future: "Future[Scored]") -> float:
    (score,) = future.result(TIMEOUT).scores
    return score.probability


def test_no_image_is_taken_before_the_threads_run() -> None:
    batcher = Batcher(FakeScorer(), Observer(), max_batch_size=4)
    with pytest.raises(NotReady):
        batcher.submit(flat(51, 8)[None], lambda _: None)
    assert batcher.queued == 0


def test_single_image_runs_without_delay() -> None:
    harness = Harness()
    assert probability(harness.submit(51)) == 0.2
    assert harness.observer.batches == [(1, 0.0)]
    harness.close()


def test_images_queued_during_a_run_form_the_next_batch() -> None:
    harness = Harness()
    first = harness.hold()
    rest = [harness.submit(value) for value in (51, 102, 153, 204, 255)]
    assert harness.batcher.queued == 5
    harness.scorer.go.set()
    assert [probability(future) for future in (first, *rest)] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert harness.scorer.batches == [1, 4, 1]
    harness.close()


def test_waits_are_measured_from_arrival_to_taking() -> None:
    harness = Harness()
    first = harness.hold()
    late = harness.submit(9)
    harness.now = 2.5
    harness.scorer.go.set()
    wait([first, late], TIMEOUT)
    harness.close()
    assert harness.observer.waits == [0.0, 2.5]


def test_earlier_wait_is_added_to_the_observed_wait() -> None:
    harness = Harness()
    harness.submit(1, waited=1.5).result(TIMEOUT)
    assert harness.observer.waits == [1.5]
    harness.close()


def test_a_dropped_image_costs_no_inference() -> None:
    harness = Harness()
    first = harness.hold()
    (item, gone), kept = harness.enter(1), harness.submit(255)
    assert harness.batcher.drop(item)
    assert not harness.batcher.drop(item)
    harness.scorer.go.set()
    assert probability(kept) == 1.0
    assert first.done()
    assert not gone.done()
    assert harness.scorer.batches == [1, 1]
    harness.close()


def test_a_batch_of_dropped_images_is_no_batch() -> None:
    harness = Harness()
    harness.hold()
    harness.submit(1)
    harness.submit(2)
    assert harness.batcher.drop_all() == 2
    assert harness.batcher.queued == 0
    harness.close()
    assert harness.scorer.batches == [1]


def fails_on(value: int, images: np.ndarray) -> Exception | None:
    return ValueError("poison") if (images[:, 0, 0, 0] == value).any() else None


def test_one_image_that_breaks_a_batch_fails_alone() -> None:
    harness = Harness()
    harness.hold()
    harness.scorer.fault = lambda images: fails_on(13, images)
    good, bad, other = (harness.submit(value) for value in (51, 13, 255))
    harness.scorer.go.set()
    assert probability(good) == 0.2
    assert probability(other) == 1.0
    with pytest.raises(ValueError, match="poison"):
        bad.result(TIMEOUT)
    assert harness.scorer.batches == [1, 3, 1, 1, 1]
    harness.close()


def test_transient_failure_is_retried_without_an_error() -> None:
    harness = Harness()
    faults = iter([RuntimeError("a transient fault")])
    harness.scorer.fault = lambda _: next(faults, None)
    assert probability(harness.submit(51)) == 0.2
    harness.close()


def test_too_few_scores_are_a_runtime_error_and_the_thread_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    monkeypatch.setattr(harness.scorer, "score", lambda images: Scores(np.zeros(len(images) - 1, np.float32), None))
    with pytest.raises(RuntimeError, match="0 of 1"):
        harness.submit(1).result(TIMEOUT)
    assert harness.batcher.is_alive
    harness.close()


class Backlog:
    """Seconds of decoding ahead; tells when the inference thread has asked, and so waits for more."""

    def __init__(self) -> None:
        self.seconds = 1.0
        self._asked = threading.Event()

    def __call__(self) -> float:
        if threading.current_thread().name == "inference":
            self._asked.set()
        return self.seconds

    def await_hold(self) -> None:
        assert self._asked.wait(TIMEOUT)


def settled(*futures: "Future[Scored]") -> bool:
    return not wait(futures, TIMEOUT).not_done


def test_a_delay_waits_while_decoding_is_further_behind() -> None:
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=(backlog := Backlog()))
    first = harness.submit(0)
    backlog.await_hold()
    second = harness.submit(255)
    assert harness.scorer.batches == []
    backlog.seconds = 0.0
    third = harness.submit(51)
    assert settled(first, second, third)
    assert sum(harness.scorer.batches) == 3
    assert harness.scorer.batches[0] >= 2
    harness.close()


def test_the_delay_ends_when_the_backlog_does() -> None:
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=(backlog := Backlog()))
    alone = harness.submit(51)
    backlog.await_hold()
    harness.batcher.recheck()
    assert not alone.done()
    backlog.seconds = 0.0
    harness.batcher.recheck()
    assert probability(alone) == 0.2
    harness.close()


def test_items_dropped_during_the_delay_form_no_batch() -> None:
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=(backlog := Backlog()))
    item, _ = harness.enter(1)
    backlog.await_hold()
    assert harness.batcher.drop(item)
    backlog.seconds = 0.0
    assert probability(harness.submit(51)) == 0.2
    assert harness.scorer.batches == [1]
    harness.close()


@pytest.mark.parametrize("first", [float("inf"), 1.0])
def test_item_near_its_deadline_ends_the_batch_delay(first: float) -> None:
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=(backlog := Backlog()))
    futures = [harness.submit(0, deadline=first)]
    if first > 1.0:
        backlog.await_hold()
        futures.append(harness.submit(255, deadline=1.0))
    assert settled(*futures)
    harness.submit(51)
    assert harness.batcher.queued == 1  # The hurry was theirs.
    harness.close()


def test_the_delay_is_no_longer_than_it_may_be() -> None:
    harness = Harness(max_batch_delay=0.01, backlog=lambda: 1.0)
    assert probability(harness.submit(51)) == 0.2
    harness.close()


def test_batch_is_not_delayed_while_the_model_is_the_bottleneck() -> None:
    backlog = Backlog()
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=backlog)
    harness.scorer.fault = lambda _: setattr(harness, "now", harness.now + 0.6)
    assert settled(*(harness.submit(value) for value in range(4)))
    # An image takes 0.15 s now: four form a batch, and three do not wait for a fourth if the backlog is less.
    backlog.seconds = 0.4
    assert settled(*(harness.submit(value) for value in range(3)))
    assert harness.scorer.batches == [4, 3]
    harness.close()


def test_the_wait_ahead_is_the_queue_times_what_an_image_takes() -> None:
    harness = Harness()
    harness.scorer.fault = lambda _: setattr(harness, "now", harness.now + 0.5)
    harness.submit(1).result(TIMEOUT)
    assert harness.batcher.predicted_wait() == 0.0
    harness.hold()
    queued = [harness.enter(1) for _ in range(3)]
    assert harness.batcher.predicted_wait() == 1.5
    assert harness.batcher.drop(queued[1][0])
    assert (harness.batcher.queued, harness.batcher.predicted_wait()) == (2, 1.0)
    harness.close()


def test_a_full_batch_ends_the_delay() -> None:
    harness = Harness(max_batch_delay=10 * TIMEOUT, backlog=lambda: 1.0)
    assert settled(*(harness.submit(value) for value in range(4)))
    assert harness.scorer.batches == [4]
    harness.close()


def test_closing_finishes_what_is_queued() -> None:
    harness = Harness()
    harness.hold()
    queued = [harness.submit(value) for value in range(6)]
    closer = threading.Thread(target=harness.batcher.close)
    closer.start()
    harness.scorer.go.set()
    closer.join(TIMEOUT)
    assert all(future.done() and future.exception() is None for future in queued)
    with pytest.raises(NotReady):
        harness.submit(1)


def test_dead_thread_fails_queued_items() -> None:
    harness = Harness()
    busy_with = harness.hold()
    queued = harness.submit(1)
    harness.scorer.fault = lambda _: SystemExit("killed")
    harness.scorer.go.set()
    for future in (busy_with, queued):
        with pytest.raises(NotReady, match="inference thread ended"):
            future.result(TIMEOUT)
    wait_until(lambda: not harness.batcher.is_alive)
    with pytest.raises(NotReady):
        harness.submit(2)


def test_failing_callback_does_not_affect_other_items(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    harness.hold()

    def done(_: Scored | Exception) -> None:
        raise ValueError("too much")

    harness.batcher.submit(flat(1, 8)[None], done)
    rest = harness.submit(51)
    harness.scorer.go.set()
    assert probability(rest) == 0.2
    assert harness.batcher.is_alive
    harness.close()
    assert [record.message for record in caplog.records] == ["the outcome of an image could not be delivered"]


def test_more_images_than_a_run_takes_are_refused_and_do_not_stop_the_thread() -> None:
    harness = Harness(max_batch_size=2)
    with pytest.raises(ValueError, match="3 images"):
        harness.batcher.submit(np.zeros((3, 8, 8, 3), np.uint8), lambda _: None)
    assert probability(harness.submit(255)) == 1.0
    assert harness.batcher.queued == 0
    harness.close()


class Meeting:
    """A model whose first runs wait for each other, so that they end only if they are at work together."""

    def __init__(self, runs: int) -> None:
        self.batches: list[int] = []
        self._left = runs
        self._barrier = threading.Barrier(runs)

    def score(self, images: np.ndarray) -> Scores:
        self.batches.append(len(images))
        if self._left > 0:
            self._left -= 1
            self._barrier.wait(TIMEOUT)
        return Scores(images[:, 0, 0, 0].astype(np.float32) / np.float32(255), None)


def probabilities(future: "Future[Scored | Exception]") -> list[float]:
    outcome = future.result(TIMEOUT)
    assert isinstance(outcome, Scored)
    return [score.probability for score in outcome.scores]


def test_several_threads_run_the_model_at_the_same_time() -> None:
    scorer = Meeting(3)
    batcher = Batcher(scorer, Observer(), max_batch_size=32, threads=3)
    outcomes: list[Future[Scored | Exception]] = [Future() for _ in range(3)]
    batcher.start()
    for value, future in enumerate(outcomes):
        batcher.submit(np.full((4, 8, 8, 3), 51 * value, np.uint8), future.set_result)
    found = [probabilities(future) for future in outcomes]
    assert found == [[pytest.approx(0.2 * value)] * 4 for value in range(3)]
    batcher.close()
    assert not batcher.is_alive


@pytest.mark.parametrize(
    ("threads", "images", "part"), [(1, 40, 32), (1, 6, 6), (2, 40, 20), (2, 90, 32), (2, 3, 4), (8, 32, 4)]
)
def test_a_request_is_cut_into_a_part_for_each_thread(threads: int, images: int, part: int) -> None:
    assert Batcher(FakeScorer(), Observer(), max_batch_size=32, threads=threads).part_size(images) == part


class Entered(FakeScorer):
    """Counts the runs that have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.go.clear()
        self._runs = itertools.count(1)
        self._begun = 0

    def has_begun(self, runs: int) -> bool:
        return self._begun == runs

    def score(self, images: np.ndarray) -> Scores:
        self._begun = next(self._runs)
        return super().score(images)


def test_a_thread_leaves_a_share_of_the_queue_to_the_others() -> None:
    scorer, watch = Entered(), Observer()
    batcher = Batcher(scorer, watch, max_batch_size=32, threads=2)
    outcomes: list[Future[Scored | Exception]] = [Future() for _ in range(14)]
    batcher.start()
    for number, future in enumerate(outcomes):
        batcher.submit(flat(51, 8)[None], future.set_result)
        wait_until(partial(scorer.has_begun, min(number + 1, 2)))
    scorer.go.set()
    assert [probabilities(future) for future in outcomes] == [[pytest.approx(0.2)]] * 14
    batcher.close()
    # Half of the twelve that were queued, then the rest in shares of at least four.
    assert max(scorer.batches) == 6
    assert sum(scorer.batches) == sum(images for images, _ in watch.batches) == 14


def test_a_thread_that_dies_ends_the_others_after_their_runs() -> None:
    scorer, others = Entered(), set(threading.enumerate())
    batcher = Batcher(scorer, Observer(), max_batch_size=1, threads=2)
    outcomes: list[Future[Scored | Exception]] = [Future() for _ in range(3)]
    batcher.start()
    for number, future in enumerate(outcomes):
        batcher.submit(flat(51, 8)[None], future.set_result)
        wait_until(partial(scorer.has_begun, min(number + 1, 2)))
    assert len(set(threading.enumerate()) - others) == 2
    faults = iter([SystemExit("killed")])
    scorer.fault = lambda _: next(faults, None)
    scorer.go.set()
    assert not wait(outcomes, TIMEOUT).not_done
    assert sorted(isinstance(each.result(), NotReady) for each in outcomes[:2]) == [False, True]
    wait_until(lambda: set(threading.enumerate()) <= others)
    with pytest.raises(NotReady):
        batcher.submit(flat(51, 8)[None], outcomes[0].set_result)
