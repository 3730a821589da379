import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from bulk.errors import Stopped
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.sources.sample import Sample, given
from bulk.work.batch_scorer import BatchScorer, ScoredSample
from gate import Band, DecodeBudget, ModelStore, ScoringError
from gate.pixels import Pixels
from gate.scorer import Scorer, Scores
from tests.bulk.helpers import DARK, GREY, LIGHT, face
from tests.conftest import ROOT
from tests.support.images import encode, portrait
from tests.support.models import brightness_model

JOB = BulkJob(brightness_model(), Band(), "out", batch_size=4)


class Fake(Scorer):
    """The brightness again; fails where `fails` says so of a batch."""

    def __init__(self, fails: Callable[[Pixels], bool] = lambda _: False) -> None:
        self.size = 32
        self.batches: list[int] = []
        self._fails = fails

    def score(self, images: Pixels) -> Scores:
        self.batches.append(len(images))
        if self._fails(images):
            raise ScoringError("the model failed")
        return Scores(images.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32) / np.float32(255), None)


def samples(numbers: Sequence[int], *, size: int = 0) -> Iterator[Sample]:
    return (Sample(str(number), "s", given(face(number)), size) for number in numbers)


def judge_all(judge: BatchScorer, found: Iterator[Sample]) -> list[ScoredSample]:
    with closing(judge.judge(found)) as batches:
        return [judged for batch in batches for judged in batch]


@pytest.fixture
def make() -> Iterator[Callable[..., BatchScorer]]:
    """Makes judges, and closes them."""
    made: list[BatchScorer] = []

    def make(scorer: Scorer, *, job: BulkJob = JOB, cache: ScoreCache | None = None, threads: int = 2) -> BatchScorer:
        made.append(BatchScorer(job, cache or ScoreCache.empty(), scorer, threads=threads))
        return made[-1]

    yield make
    for judge in made:
        judge.close()


Make = Callable[..., BatchScorer]


def test_every_batch_is_filled_up_to_one_size_and_order_is_kept(make: Make) -> None:
    scorer = Fake()
    judged = judge_all(make(scorer), samples(range(10)))
    assert [each.row.id for each in judged] == [str(number) for number in range(10)]
    assert scorer.batches == [4, 4, 4]


def test_a_model_failure_on_one_image_leaves_the_others_scored(make: Make) -> None:
    scorer = Fake(lambda images: bool((images[:, 5, 5, 0] == GREY).any()))
    judged = judge_all(make(scorer), samples([LIGHT, GREY, DARK]))
    assert [each.row.error and each.row.error.code for each in judged] == [None, "scoring_failed", None]
    assert judged[0].row.score is not None


def test_a_model_failure_on_every_image_ends_the_run(make: Make) -> None:
    with pytest.raises(ScoringError, match="the model failed"):
        judge_all(make(Fake(lambda _: True)), samples([LIGHT]))


def test_an_unexpected_error_affects_one_row_only(make: Make) -> None:
    def fetch() -> bytes:
        raise ZeroDivisionError("unexpected")

    judged = judge_all(make(Fake()), iter([Sample("a", "s", fetch), *samples([LIGHT])]))
    assert [each.row.error and each.row.error.code for each in judged] == ["internal", None]
    assert str(judged[0].row.error) == "ZeroDivisionError: unexpected"


def test_lack_of_memory_ends_the_run(make: Make) -> None:
    def fetch() -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        judge_all(make(Fake()), iter([Sample("a", "s", fetch)]))


@pytest.mark.parametrize(("size", "most"), [(0, 16 + 8 + 1), (20 * 2**20, 2 + 1)], ids=["images", "bytes"])
def test_no_more_is_read_ahead_than_the_window_holds(size: int, most: int, make: Make) -> None:
    taken = 0

    def counted() -> Iterator[Sample]:
        nonlocal taken
        for sample in samples(range(100), size=size):
            taken += 1
            yield sample

    with closing(make(Fake()).judge(counted())) as batches:
        for number, _ in enumerate(batches, start=1):
            assert taken <= most + 4 * number


def test_stop_ends_running_calls(make: Make) -> None:
    judge = make(Fake(), threads=1)
    entered = threading.Event()

    def fetch() -> bytes:
        entered.set()
        judge.stop()
        return face(LIGHT)

    with pytest.raises(Stopped):
        judge_all(judge, iter([Sample("a", "s", fetch), *samples(range(50))]))
    assert entered.is_set()


def test_scores_of_the_shipped_model_do_not_depend_on_batch_boundaries(make: Make) -> None:
    model = ModelStore(ROOT / "models").load()
    job = BulkJob(model, Band(), "out")
    judge = make(Scorer(model, device="cpu"), job=job)
    found = [Sample(str(seed), "s", given(encode(portrait(128, seed=seed)))) for seed in range(40)]
    whole = [each.row for each in judge_all(judge, iter(found))]
    pieces = [each.row for start in range(0, 40, 7) for each in judge_all(judge, iter(found[start : start + 7]))]
    assert whole == pieces
    assert {row.error for row in whole} == {None}


def test_rows_of_images_that_cannot_be_read_hold_no_image(make: Make) -> None:
    broken = b"no image" + bytes(2**20)

    def fetch() -> bytes:
        return bytes(bytearray(broken))

    judge = make(Fake())
    tracemalloc.start()
    try:
        rows = [each.row for each in judge_all(judge, (Sample(str(n), "s", fetch) for n in range(200)))]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {row.error and row.error.code for row in rows} == {"unsupported_image"}
    # With the frames of its traceback each row would hold a megabyte.
    assert held < 20 * 2**20


def test_images_wait_for_memory_and_are_all_judged(
    make: Callable[..., BatchScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    class Watched(DecodeBudget):
        @contextmanager
        def hold(self, cost: int) -> Iterator[None]:
            with super().hold(cost):
                held.append(self.held)
                yield

    monkeypatch.setattr("bulk.work.batch_scorer.DecodeBudget", Watched)
    judge = make(Fake(), job=replace(JOB, max_decode_bytes=1), threads=4)
    assert len(judge_all(judge, samples(range(20)))) == 20
    assert held == [1] * 20
