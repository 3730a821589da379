"""Turn samples into rows in order, with the gate's pixels, scores and decisions."""

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
from gate import DecodeBudget, ImageError, ScoringError, read_pixels
from gate.pixels import Pixels
from gate.scorer import Score, Scorer

# Images read ahead per unit, so that no thread idles while a batch is scored, and a limit on their bytes.
_WINDOW = 16
_WINDOW_BYTES = 32 * 2**20

_FETCHED = failing(Internal("the image was already fetched"))


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One scored sample: its row, and the image's bytes if accepted images are kept."""

    sample: Sample
    row: Row
    data: bytes | None
    is_reused: bool


@dataclass(frozen=True, slots=True)
class _Examined:
    """A decoded sample: its pixels, its cached score, or its error."""

    sample: Sample
    sha256: bytes | None
    data: bytes | None
    pixels: Pixels | None
    score: Score | None
    error: ImageError | RowError | None


_Error = TypeVar("_Error", bound=BaseException)


def _bare(error: _Error) -> _Error:
    """Drop the error's traceback, whose frames keep the image alive: thousands of rows are held at a time."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class BatchScorer:
    """Decodes samples on its threads and scores them in batches on the caller's thread.

    Args:
        job: the job.
        cache: scores of images that were scored before.
        scorer: the scorer of the job's model.
        threads: number of images decoded at a time, over all callers.
    """

    def __init__(self, job: BulkJob, cache: ScoreCache, scorer: Scorer, *, threads: int) -> None:
        self._job, self._cache, self._scorer = job, cache, scorer
        self._window = _WINDOW + 4 * threads
        self._window_bytes = _WINDOW_BYTES + threads * 4 * 2**20
        self._budget = DecodeBudget(job.max_decode_bytes)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """Shut down the threads. After `stop`, running reads and decodes are not awaited."""
        self._pool.shutdown(wait=not self._stopped.is_set(), cancel_futures=True)

    def stop(self) -> None:
        """Make all running calls raise `Stopped`."""
        self._stopped.set()

    def judge(self, samples: Iterable[Sample]) -> Generator[list[ScoredSample], None, None]:
        """Yield batches of scored samples in order. Close the generator if you stop early.

        Raises:
            Stopped: `stop` was called.
            ScoringError: the model fails on any image.
        """
        with closing(self._examine_all(samples)) as examined:
            for batch in self._batches(examined):
                yield [self._decide(each) for each in self._score(batch)]

    def _examine_all(self, samples: Iterable[Sample]) -> Generator[_Examined, None, None]:
        """Decode in order, at most one window ahead."""
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
        except Exception as fault:  # A single image must not end a run over millions.
            error = Internal(without_secrets(f"{type(fault).__name__}: {fault}"))
        # Release the bytes, which `fetch` holds, before the batch is full.
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
        """Pair each sample with the score of its pixels, or with the error if the model fails on this image only."""
        images = [each.pixels for each in batch if each.pixels is not None]
        scores = iter(self._run(images))
        return ((each, None if each.pixels is None else next(scores)) for each in batch)

    def _run(self, images: Sequence[Pixels]) -> Sequence[Score | RowError]:
        if not images:
            return []
        try:
            return self._run_filled(images)
        except ScoringError:
            self._run_filled([np.zeros_like(images[0])])  # Raises if the model or the device is at fault.
            return [self._run_alone(image) for image in images]

    def _run_alone(self, image: Pixels) -> Score | RowError:
        try:
            return self._run_filled([image])[0]
        except ScoringError as error:
            return ScoringFailed(str(error))

    def _run_filled(self, images: Sequence[Pixels]) -> list[Score]:
        """Pad to a fixed batch size: another size may change the order of computation and so the last bits."""
        filled = np.zeros((self._job.batch_size, *images[0].shape), np.uint8)
        filled[: len(images)] = images
        return self._scorer.score(filled).each()[: len(images)]

    def _decide(self, pair: tuple[_Examined, Score | RowError | None]) -> ScoredSample:
        examined, scored = pair
        sample = examined.sample
        error = scored if isinstance(scored, RowError) else examined.error
        score = scored if isinstance(scored, Score) else examined.score
        expected = sample.expected or self._job.expected
        card, band = self._job.model.card, self._job.band
        decision = card.decide(score.probability, score.novelty, band=band, expected=expected) if score else None
        named = sample.named_source or self._job.source
        row = Row(
            sample.id,
            sample.source,
            sha256=examined.sha256,
            expected=expected,
            score=score,
            decision=decision,
            error=error,
            named_source=named,
        )
        return ScoredSample(sample, row, examined.data, is_reused=examined.score is not None)
