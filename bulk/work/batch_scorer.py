"""The judge: samples to rows, by the same pixels, scores and decision as everywhere; order is kept."""

import hashlib
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from bulk.errors import Internal, RowError, ScoringFailed, Stopped
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.table import Row
from bulk.sources.sample import Sample, failing
from common.storage import without_secrets
from gate import Decision, DecodeBudget, ImageError, Label, ScoringError, decide, read_pixels
from gate.pixels import Pixels
from gate.scorer import Score, Scorer

# Enough that no thread waits while a batch is scored, and no more bytes of images than these in each unit.
_WINDOW = 16
_WINDOW_BYTES = 32 * 2**20

_FETCHED = failing(Internal("the image's bytes were fetched before"))


@dataclass(frozen=True, slots=True)
class ScoredSamples:
    """A sample, its row and its image's bytes, where these are to be kept."""

    sample: Sample
    row: Row
    data: bytes | None
    is_reused: bool


@dataclass(frozen=True, slots=True)
class _Examined:
    """A sample on its way: pixels to score, or a score, or what is wrong with it."""

    sample: Sample
    sha256: bytes | None = None
    data: bytes | None = None
    pixels: Pixels | None = None
    score: Score | None = None
    error: ImageError | RowError | None = None


AnyError = TypeVar("AnyError", bound=BaseException)


def _bare(error: AnyError) -> AnyError:
    """Return the error without its traceback, whose frames hold the image: rows are held by the thousand."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class BatchScorer:
    """Examines samples on all of its threads, and scores them in batches on its caller's.

    Args:
        job: what is done.
        cache: scores that need not be found out again.
        scorer: of the job's model.
        threads: how many images are decoded at a time, whoever asks.
    """

    def __init__(self, job: BulkJob, cache: ScoreCache, scorer: Scorer, *, threads: int) -> None:
        self._job, self._cache, self._scorer = job, cache, scorer
        self._window = _WINDOW + 4 * threads
        self._window_bytes = _WINDOW_BYTES + threads * 4 * 2**20
        self._budget = DecodeBudget(job.max_decode_bytes)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """Let go of the threads. Once stopped, those that still read or decode are not waited for."""
        self._pool.shutdown(wait=not self._stopped.is_set(), cancel_futures=True)

    def stop(self) -> None:
        """Have everything that is under way end with `Stopped`."""
        self._stopped.set()

    def judge(self, samples: Iterable[Sample]) -> Generator[list[ScoredSamples], None, None]:
        """Batches of what became of `samples`, in order. To be closed where it is left early.

        Raises:
            Stopped: by `stop`.
            ScoringError: the model fails, whatever the image.
        """
        with closing(self._examine_all(samples)) as examined:
            for batch in self._batches(examined):
                yield [self._decide(each) for each in self._score(batch)]

    def _examine_all(self, samples: Iterable[Sample]) -> Generator[_Examined, None, None]:
        """In order, and no further ahead than the window reaches."""
        window: deque[Future[_Examined]] = deque()
        held = 0
        try:
            for sample in samples:
                window.append(self._pool.submit(self._examine, sample))
                held += sample.size
                while len(window) > self._window or held > self._window_bytes:
                    examined = window.popleft().result()
                    held -= examined.sample.size
                    yield examined
            while window:
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()

    def _examine(self, sample: Sample) -> _Examined:
        if self._stopped.is_set():
            raise Stopped("the run was stopped")
        data = sha256 = score = pixels = error = None
        try:
            data = sample.fetch()
            sha256 = hashlib.sha256(data).digest()
            score = self._cache.find(sha256)
            pixels = read_pixels(data, self._scorer.size, budget=self._budget) if score is None else None
        except (ImageError, RowError) as fault:
            error = _bare(fault)
        except MemoryError:
            raise
        except Exception as fault:  # Of millions of images one must not end the run, whatever is the matter with it.
            error = Internal(without_secrets(f"{type(fault).__name__}: {fault}"))
        # Until the batch is full nothing holds on to bytes that nobody needs any more.
        light = replace(sample, fetch=_FETCHED)
        return _Examined(light, sha256, data if self._job.keep else None, pixels, score, error)

    def _batches(self, examined: Iterable[_Examined]) -> Iterator[list[_Examined]]:
        batch: list[_Examined] = []
        held = 0
        for each in examined:
            batch.append(each)
            held += len(each.data or b"")
            if len(batch) == self._job.batch_size or held > self._window_bytes:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _score(self, batch: list[_Examined]) -> Iterator[tuple[_Examined, Score | RowError | None]]:
        """Each with its score, where it has pixels; where the model fails on one image alone, with that."""
        images = [each.pixels for each in batch if each.pixels is not None]
        scores = iter(self._run(images))
        return ((each, None if each.pixels is None else next(scores)) for each in batch)

    def _run(self, images: Sequence[Pixels]) -> Sequence[Score | RowError]:
        if not images:
            return []
        try:
            return self._run_filled(images)
        except ScoringError:
            self._run_filled([np.zeros_like(images[0])])  # Raises where it is the model's fault, or the device's.
            return [self._run_alone(image) for image in images]

    def _run_alone(self, image: Pixels) -> Score | RowError:
        try:
            return self._run_filled([image])[0]
        except ScoringError as error:
            return ScoringFailed(str(error))

    def _run_filled(self, images: Sequence[Pixels]) -> list[Score]:
        """Always in batches of one size: another one may be computed in another order, and differ in its last bits."""
        filled = np.zeros((self._job.batch_size, *images[0].shape), np.uint8)
        filled[: len(images)] = images
        return self._scorer.score(filled).each()[: len(images)]

    def _decide(self, pair: tuple[_Examined, Score | RowError | None]) -> ScoredSamples:
        examined, scored = pair
        sample = examined.sample
        error = scored if isinstance(scored, RowError) else examined.error
        score = scored if isinstance(scored, Score) else examined.score
        expected = sample.expected or self._job.expected
        decision = self._decision(score, expected) if score else None
        row = Row(sample.id, sample.source, examined.sha256, expected, score, decision, error)
        return ScoredSamples(sample, row, examined.data, is_reused=examined.score is not None)

    def _decision(self, score: Score, expected: Label | None) -> Decision:
        return decide(
            score.probability,
            self._job.band,
            novelty=score.novelty,
            novelty_threshold=self._job.model.card.novelty_limit,
            expected=expected,
        )
