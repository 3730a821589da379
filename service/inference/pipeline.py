"""How a request flows: admission -> decode -> batch -> decision, and the order in which all of it ends."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request

from gate import Budget, DecodeBudget, ImageError, Label
from gate.pixels import Pixels
from gate.scorer import Score
from service.errors import DeadlineExceeded, Draining, InvalidImage, NotReady, Overloaded
from service.http.request_body import content_length, read_body, while_connected
from service.inference.admission import Admission
from service.inference.batcher import Scored
from service.inference.caller_shares import name_caller
from service.inference.decode_pool import Decoded, DecodePool
from service.inference.futures import call_in_loop, settle
from service.inference.model_runner import Engine, Loaded
from service.inference.request_context import Answer, Asked, Job
from service.inference.shadow import Shadow, Sizes, Views, join_views, read_views, shrink_views
from service.metrics.decisions import Metrics
from service.records.decision_record import DecisionRecord
from service.records.preview import Source, bytes_to_detach
from service.records.recorder import Recorder, is_drawn
from service.records.store import Store
from service.records.writer import Limits
from service.settings import Settings

_INLINE_BYTES = 2**20
"""Most bytes of images that are copied for the record in the event loop."""


class Pipeline:
    """Everything between a request and its answer. It owns the decode threads and the inference threads.

    Args:
        settings: limits and sizes.
        loaded: the model.
        metrics: is told of everything.
        shadow: a model that scores the same images and answers nobody.
        store: where decisions are written down.
    """

    def __init__(
        self,
        settings: Settings,
        loaded: Loaded,
        *,
        metrics: Metrics,
        shadow: Loaded | None = None,
        store: Store | None = None,
    ) -> None:
        self.metrics = metrics
        self.settings = settings
        self.budget = DecodeBudget(settings.max_decode_bytes)
        self.decoder = DecodePool(
            threads=settings.decode_threads,
            observe=metrics.observe_decode,
            on_end=self._nudge,
        )
        self.engine = self._start(loaded)
        metrics.serve(self.engine.card, self.engine.band, provider=self.engine.provider)
        self.shadow = Shadow(shadow, settings, metrics=metrics.shadow) if shadow else None
        self.recorder = self._make_recorder(store) if store else None
        self.admission = Admission(
            max_images=settings.max_inflight_images,
            max_bytes=settings.max_inflight_bytes,
            max_body_bytes=settings.max_body_bytes,
            predicted_wait=lambda: self.decoder.predicted_wait() + self.engine.batcher.predicted_wait(),
            max_streams=settings.max_streams,
            share=settings.max_share_per_caller,
        )
        metrics.watch(
            queued_images=lambda: self.queued_images,
            inflight_bytes=lambda: self.admission.bytes,
        )

    @property
    def queued_images(self) -> int:
        """Images that wait for a decode thread or for the model."""
        return self.decoder.queued + self.engine.batcher.queued

    async def answer(self, request: Request, asked: Asked, *, timeout_ms: int | None) -> Answer:
        """Judge the one image that is the body of `request`.

        Raises:
            ServiceError: one of its subclasses, naming what is wrong.
        """
        async with self.job(request, timeout_ms=timeout_ms) as job:
            with job.stages.measure("read"):
                # The body is kept nowhere but in this list, so that it is freed once it is decoded.
                body = [await read_body(request, job.place, min_rate=self.settings.min_body_rate)]
            with while_connected(request):
                return await self.judge_body(job, body.pop(), asked)

    @asynccontextmanager
    async def job(
        self, request: Request, *, timeout_ms: int | None = None, max_body_bytes: int | None = None
    ) -> AsyncIterator[Job]:
        """Admit a request before its body is read, and hold it to its deadline.

        `timeout_ms` can only shorten the service's own; `max_body_bytes` is for bodies of more than one image.

        Raises:
            ServiceError: it is not admitted, the deadline passes, or the block raised what a caller can be told.
        """
        timeout = self.settings.timeout(timeout_ms)
        started = time.monotonic()
        job: Job | None = None
        try:
            with (
                self.reported(),
                self.admission.admit(
                    content_length(request),
                    timeout,
                    max_body_bytes=max_body_bytes,
                    caller=name_caller(request.scope),
                ) as place,
                self.engine as engine,
            ):
                async with asyncio.timeout(timeout) as limit:
                    job = Job(engine, place, started + timeout, request.state.stages, started, limit)
                    yield job
        except TimeoutError as error:
            given = (job.deadline if job else started + timeout) - started
            raise DeadlineExceeded(f"there was no answer within {given * 1000:.0f} ms") from error

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Count what was refused, and say of an image at fault what a caller can be told."""
        try:
            yield
        except ImageError as error:
            self.metrics.observe_image_error(error.code)
            raise InvalidImage(error) from error
        except Overloaded as error:
            self.metrics.observe_shed(error.reason)
            raise

    async def judge_body(self, job: Job, body: bytes | bytearray, asked: Asked) -> Answer:
        """Decode one image file and decide about it.

        The bytes of the job's place are given back in between, or after it where decisions are recorded.

        Raises:
            ImageError: the image cannot be judged.
            DeadlineExceeded: the job's deadline passed before it was decoded, or before it was scored.
        """
        decoded = [await self.decode(job, body)]
        del body
        (answer,) = await self.judge_decoded(job, decoded, [asked])
        return answer

    async def decode(self, job: Job, body: bytes | bytearray | memoryview) -> Decoded[Views]:
        """Decode one image file, once there is memory for it. A view of a larger body is copied meanwhile.

        Raises:
            ImageError: the image cannot be judged.
            DeadlineExceeded: the job's deadline passed before a thread was free.
        """
        claim = self.budget.claim()
        work = partial(
            _read,
            sizes=self._sizes(job),
            max_pixels=self.settings.max_pixels,
            budget=claim,
            is_recorded=self.recorder is not None,
        )
        try:
            decoded = await self.decoder.run(work, body, deadline=job.deadline)
        except asyncio.CancelledError:
            claim.cancel()
            raise
        self._note_decode(job, decoded)
        return decoded

    async def judge_decoded(self, job: Job, decoded: Sequence[Decoded[Views]], asked: Sequence[Asked]) -> list[Answer]:
        """Decide about all the images of the job at once. Nobody else holds its body any more.

        Raises:
            DeadlineExceeded: the job's deadline passed before they were scored.
        """
        views = join_views([each.made for each in decoded])
        return await self._score(job, views, asked, waited=max(each.waited for each in decoded))

    async def judge_pixels(self, job: Job, pixels: Pixels, asked: Sequence[Asked]) -> list[Answer]:
        """Decide about N images at once, uint8 `[N, H, H, 3]`, H a multiple of the model's size.

        Raises:
            DeadlineExceeded: the job's deadline passed before they were shrunk, or before they were scored.
        """
        sizes = self._sizes(job)
        if sizes.are_below(pixels.shape[1]):
            work = partial(_shrink, sizes=sizes, is_recorded=self.recorder is not None)
            shrunk = await self.decoder.run(work, pixels, deadline=job.deadline)
            self._note_decode(job, shrunk)
            views, waited = shrunk.made, shrunk.waited
        else:
            views, waited = _shrink(pixels, sizes=sizes, is_recorded=self.recorder is not None), 0.0
        del pixels
        return await self._score(job, views, asked, waited=waited)

    def check_alive(self) -> None:
        """Raise NotReady where only a restart helps."""
        if not self.engine.batcher.is_alive:
            raise NotReady("the inference thread has ended")

    def check_ready(self) -> None:
        """Raise NotReady, or Draining, where requests should go elsewhere."""
        self.check_alive()
        if self.admission.is_draining:
            raise Draining("the service is shutting down")

    def swap(self, loaded: Loaded) -> None:
        """Serve another version from now on; what began with the one before ends with it.

        Raises:
            SettingsError: the operator's band does not go with the new card's; nothing was changed.
        """
        new, old = self._start(loaded), self.engine
        self.engine = new
        self.metrics.serve(new.card, new.band, provider=new.provider)
        old.retire()

    def drain(self) -> None:
        """Admit nothing more; what was admitted is finished."""
        self.admission.drain()

    def close(self) -> None:
        """End the threads. Whoever was admitted has been answered by now: what still runs is nobody's."""
        self.drain()
        self.decoder.close()
        self.engine.close(timeout=1.0)
        if self.shadow is not None:
            self.shadow.close()
        if self.recorder is not None:
            self.recorder.close()

    def _sizes(self, job: Job) -> Sizes:
        return Sizes(job.engine.size, None if self.shadow is None else self.shadow.size)

    def _nudge(self) -> None:
        self.engine.batcher.nudge()

    def _make_recorder(self, store: Store) -> Recorder:
        settings = self.settings
        return Recorder(
            store,
            self.metrics.records,
            limits=Limits(settings.records_max_rows, settings.records_max_days, settings.records_max_image_bytes),
            max_pixels=settings.max_pixels,
            budget=self.budget,
            is_busy=lambda: self.decoder.queued > 0,
        )

    def _start(self, loaded: Loaded) -> Engine:
        return Engine(loaded, self.settings, observer=self.metrics, backlog=self.decoder.backlog)

    async def _score(self, job: Job, views: Views, asked: Sequence[Asked], *, waited: float) -> list[Answer]:
        """Score N images in runs of what the model takes at most; they wait together until the first run begins."""
        if not views.sources:
            job.place.release_bytes()
        batcher, pixels = job.engine.batcher, views.served
        # Before they are handed over: the model may have begun by the time that is done.
        queued = time.monotonic()
        parts = [
            self._score_part(job, pixels[first : first + batcher.max_batch_size], waited)
            for first in range(0, len(pixels), batcher.max_batch_size)
        ]
        found = [await parts[0]] if len(parts) == 1 else await asyncio.gather(*parts)
        job.stages.add("queue", queued, found[0].started)
        for part in found:
            job.stages.add("inference", part.started, part.ended)
        scores = [score for part in found for score in part.scores]
        answers = [self._decide(job.engine, score, each.expected) for score, each in zip(scores, asked, strict=True)]
        if self.shadow is not None:
            self.shadow.follow(views.shadow, answers, [each.expected for each in asked])
        if self.recorder is not None:
            record = partial(self._record, self.recorder, job, answers, asked=asked, sources=views.sources)
            # Copied here, the largest body would keep everybody waiting for a tenth of a second.
            await asyncio.to_thread(record) if bytes_to_detach(views.sources) > _INLINE_BYTES else record()
        return answers

    async def _score_part(self, job: Job, pixels: Pixels, waited: float) -> Scored:
        batcher, loop = job.engine.batcher, asyncio.get_running_loop()
        future: asyncio.Future[Scored] = loop.create_future()

        def done(outcome: Scored | Exception) -> None:
            call_in_loop(loop, settle, future, outcome)

        item = batcher.submit(pixels, done, waited=waited, deadline=job.deadline)
        try:
            return await future
        except asyncio.CancelledError:
            batcher.drop(item)
            raise

    def _decide(self, engine: Engine, score: Score, expected: Label | None) -> Answer:
        decision = engine.decide(score, expected)
        self.metrics.observe_decision(score.probability, decision, engine.card.version)
        return Answer(score, decision, engine)

    def _record(
        self,
        recorder: Recorder,
        job: Job,
        answers: Sequence[Answer],
        *,
        asked: Sequence[Asked],
        sources: Sequence[Source],
    ) -> None:
        latency = time.monotonic() - job.started
        for answer, each, source in zip(answers, asked, sources, strict=True):
            entry = DecisionRecord(
                each.identity,
                answer.score,
                answer.decision,
                each.expected,
                answer.engine.band,
                answer.engine.card,
                latency,
                audit=is_drawn(answer.decision, random.random(), self.settings.audit_ratio),
            )
            recorder.record(entry, source)

    @staticmethod
    def _note_decode(job: Job, decoded: Decoded[Any]) -> None:
        job.stages.add("queue", decoded.submitted, decoded.started)
        job.stages.add("decode", decoded.started, decoded.ended)


def _read(
    body: bytes | bytearray | memoryview, *, sizes: Sizes, max_pixels: int, budget: Budget, is_recorded: bool
) -> Views:
    # What is no view is a whole body, as large as may be, and not copied.
    whole = bytes(body) if isinstance(body, memoryview) else body
    views = read_views(whole, sizes=sizes, max_pixels=max_pixels, budget=budget)
    return replace(views, sources=(body,)) if is_recorded else views


def _shrink(pixels: Pixels, *, sizes: Sizes, is_recorded: bool) -> Views:
    views = shrink_views(pixels, sizes)
    return replace(views, sources=tuple(pixels)) if is_recorded else views
