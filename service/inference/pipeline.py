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
from service.futures import call_in_loop, settle
from service.http.request_body import content_length, read_body, while_connected
from service.inference.admission import Admission
from service.inference.batcher import Scored
from service.inference.caller_shares import name_caller
from service.inference.decode_pool import Decoded, DecodePool
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.inference.shadow import InputSizes, ModelInputs, Shadow, join_views, read_views, shrink_views
from service.metrics.decisions import Metrics
from service.records.decision_record import Entry
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
        loaded: LoadedModel,
        *,
        metrics: Metrics,
        shadow: LoadedModel | None = None,
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
        self.runner = self._start(loaded)
        metrics.serve(self.runner.card, self.runner.band, provider=self.runner.provider)
        self.shadow = Shadow(shadow, settings, metrics=metrics.shadow) if shadow else None
        self.recorder = self._make_recorder(store) if store else None
        self.admission = Admission(
            max_images=settings.max_inflight_images,
            max_bytes=settings.max_inflight_bytes,
            max_body_bytes=settings.max_body_bytes,
            predicted_wait=lambda: self.decoder.predicted_wait() + self.runner.batcher.predicted_wait(),
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
        return self.decoder.queued + self.runner.batcher.queued

    async def answer(self, request: Request, asked: ImageRequest, *, timeout_ms: int | None) -> ImageDecision:
        """Judge the one image that is the body of `request`.

        Raises:
            ServiceError: one of its subclasses, naming what is wrong.
        """
        async with self.context(request, timeout_ms=timeout_ms) as context:
            with context.stages.measure("read"):
                # The body is kept nowhere but in this list, so that it is freed once it is decoded.
                body = [await read_body(request, context.permit, min_rate=self.settings.min_body_rate)]
            with while_connected(request):
                return await self.judge_body(context, body.pop(), asked)

    @asynccontextmanager
    async def context(
        self, request: Request, *, timeout_ms: int | None = None, max_body_bytes: int | None = None
    ) -> AsyncIterator[RequestContext]:
        """Admit a request before its body is read, and hold it to its deadline.

        `timeout_ms` can only shorten the service's own; `max_body_bytes` is for bodies of more than one image.

        Raises:
            ServiceError: it is not admitted, the deadline passes, or the block raised what a caller can be told.
        """
        timeout = self.settings.timeout(timeout_ms)
        started = time.monotonic()
        context: RequestContext | None = None
        try:
            with (
                self.reported(),
                self.admission.admit(
                    content_length(request),
                    timeout,
                    max_body_bytes=max_body_bytes,
                    caller=name_caller(request.scope),
                ) as permit,
                self.runner as runner,
            ):
                async with asyncio.timeout(timeout) as limit:
                    context = RequestContext(runner, permit, started + timeout, request.state.stages, started, limit)
                    yield context
        except TimeoutError as error:
            given = (context.deadline if context else started + timeout) - started
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

    async def judge_body(self, context: RequestContext, body: bytes | bytearray, asked: ImageRequest) -> ImageDecision:
        """Decode one image file and decide about it.

        The bytes of the context's permit are given back in between, or after it where decisions are recorded.

        Raises:
            ImageError: the image cannot be judged.
            DeadlineExceeded: the context's deadline passed before it was decoded, or before it was scored.
        """
        decoded = [await self.decode(context, body)]
        del body
        (answer,) = await self.judge_decoded(context, decoded, [asked])
        return answer

    async def decode(self, context: RequestContext, body: bytes | bytearray | memoryview) -> Decoded[ModelInputs]:
        """Decode one image file, once there is memory for it. A view of a larger body is copied meanwhile.

        Raises:
            ImageError: the image cannot be judged.
            DeadlineExceeded: the context's deadline passed before a thread was free.
        """
        claim = self.budget.claim()
        work = partial(
            _read,
            sizes=self._sizes(context),
            max_pixels=self.settings.max_pixels,
            budget=claim,
            is_recorded=self.recorder is not None,
        )
        try:
            decoded = await self.decoder.run(work, body, deadline=context.deadline)
        except asyncio.CancelledError:
            claim.cancel()
            raise
        self._note_decode(context, decoded)
        return decoded

    async def judge_decoded(
        self, context: RequestContext, decoded: Sequence[Decoded[ModelInputs]], asked: Sequence[ImageRequest]
    ) -> list[ImageDecision]:
        """Decide about all the images of the context at once. Nobody else holds its body any more.

        Raises:
            DeadlineExceeded: the context's deadline passed before they were scored.
        """
        views = join_views([each.made for each in decoded])
        return await self._score(context, views, asked, waited=max(each.waited for each in decoded))

    async def judge_pixels(
        self, context: RequestContext, pixels: Pixels, asked: Sequence[ImageRequest]
    ) -> list[ImageDecision]:
        """Decide about N images at once, uint8 `[N, H, H, 3]`, H a multiple of the model's size.

        Raises:
            DeadlineExceeded: the context's deadline passed before they were shrunk, or before they were scored.
        """
        sizes = self._sizes(context)
        if sizes.are_below(pixels.shape[1]):
            work = partial(_shrink, sizes=sizes, is_recorded=self.recorder is not None)
            shrunk = await self.decoder.run(work, pixels, deadline=context.deadline)
            self._note_decode(context, shrunk)
            views, waited = shrunk.made, shrunk.waited
        else:
            views, waited = _shrink(pixels, sizes=sizes, is_recorded=self.recorder is not None), 0.0
        del pixels
        return await self._score(context, views, asked, waited=waited)

    def check_alive(self) -> None:
        """Raise NotReady where only a restart helps."""
        if not self.runner.batcher.is_alive:
            raise NotReady("the inference thread has ended")

    def check_ready(self) -> None:
        """Raise NotReady, or Draining, where requests should go elsewhere."""
        self.check_alive()
        if self.admission.is_draining:
            raise Draining("the service is shutting down")

    def swap(self, loaded: LoadedModel) -> None:
        """Serve another version from now on; what began with the one before ends with it.

        Raises:
            SettingsError: the operator's band does not go with the new card's; nothing was changed.
        """
        new, old = self._start(loaded), self.runner
        self.runner = new
        self.metrics.serve(new.card, new.band, provider=new.provider)
        old.retire()

    def drain(self) -> None:
        """Admit nothing more; what was admitted is finished."""
        self.admission.drain()

    def close(self) -> None:
        """End the threads. Whoever was admitted has been answered by now: what still runs is nobody's."""
        self.drain()
        self.decoder.close()
        self.runner.close(timeout=1.0)
        if self.shadow is not None:
            self.shadow.close()
        if self.recorder is not None:
            self.recorder.close()

    def _sizes(self, context: RequestContext) -> InputSizes:
        return InputSizes(context.runner.size, None if self.shadow is None else self.shadow.size)

    def _nudge(self) -> None:
        self.runner.batcher.nudge()

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

    def _start(self, loaded: LoadedModel) -> ModelRunner:
        return ModelRunner(loaded, self.settings, observer=self.metrics, backlog=self.decoder.backlog)

    async def _score(
        self, context: RequestContext, views: ModelInputs, asked: Sequence[ImageRequest], *, waited: float
    ) -> list[ImageDecision]:
        """Score N images in runs of what the model takes at most; they wait together until the first run begins."""
        if not views.sources:
            context.permit.release_bytes()
        batcher, pixels = context.runner.batcher, views.served
        # Before they are handed over: the model may have begun by the time that is done.
        queued = time.monotonic()
        parts = [
            self._score_part(context, pixels[first : first + batcher.max_batch_size], waited)
            for first in range(0, len(pixels), batcher.max_batch_size)
        ]
        found = [await parts[0]] if len(parts) == 1 else await asyncio.gather(*parts)
        context.stages.add("queue", queued, found[0].started)
        for part in found:
            context.stages.add("inference", part.started, part.ended)
        scores = [score for part in found for score in part.scores]
        answers = [
            self._decide(context.runner, score, each.expected) for score, each in zip(scores, asked, strict=True)
        ]
        if self.shadow is not None:
            self.shadow.follow(views.shadow, answers, [each.expected for each in asked])
        if self.recorder is not None:
            record = partial(self._record, self.recorder, context, answers, asked=asked, sources=views.sources)
            # Copied here, the largest body would keep everybody waiting for a tenth of a second.
            await asyncio.to_thread(record) if bytes_to_detach(views.sources) > _INLINE_BYTES else record()
        return answers

    async def _score_part(self, context: RequestContext, pixels: Pixels, waited: float) -> Scored:
        batcher, loop = context.runner.batcher, asyncio.get_running_loop()
        future: asyncio.Future[Scored] = loop.create_future()

        def done(outcome: Scored | Exception) -> None:
            call_in_loop(loop, settle, future, outcome)

        item = batcher.submit(pixels, done, waited=waited, deadline=context.deadline)
        try:
            return await future
        except asyncio.CancelledError:
            batcher.drop(item)
            raise

    def _decide(self, runner: ModelRunner, score: Score, expected: Label | None) -> ImageDecision:
        decision = runner.decide(score, expected)
        self.metrics.observe_decision(score.probability, decision, runner.card.version)
        return ImageDecision(score, decision, runner)

    def _record(
        self,
        recorder: Recorder,
        context: RequestContext,
        answers: Sequence[ImageDecision],
        *,
        asked: Sequence[ImageRequest],
        sources: Sequence[Source],
    ) -> None:
        latency = time.monotonic() - context.started
        for answer, each, source in zip(answers, asked, sources, strict=True):
            entry = Entry(
                each.identity,
                answer.score,
                answer.decision,
                each.expected,
                answer.runner.band,
                answer.runner.card,
                latency,
                audit=is_drawn(answer.decision, random.random(), self.settings.audit_ratio),
            )
            recorder.record(entry, source)

    @staticmethod
    def _note_decode(context: RequestContext, decoded: Decoded[Any]) -> None:
        context.stages.add("queue", decoded.submitted, decoded.started)
        context.stages.add("decode", decoded.started, decoded.ended)


def _read(
    body: bytes | bytearray | memoryview, *, sizes: InputSizes, max_pixels: int, budget: Budget, is_recorded: bool
) -> ModelInputs:
    # What is no view is a whole body, as large as may be, and not copied.
    whole = bytes(body) if isinstance(body, memoryview) else body
    views = read_views(whole, sizes=sizes, max_pixels=max_pixels, budget=budget)
    return replace(views, sources=(body,)) if is_recorded else views


def _shrink(pixels: Pixels, *, sizes: InputSizes, is_recorded: bool) -> ModelInputs:
    views = shrink_views(pixels, sizes)
    return replace(views, sources=tuple(pixels)) if is_recorded else views
