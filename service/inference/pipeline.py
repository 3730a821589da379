"""Decode images, batch them for the model and decide: the work between an admitted request and its answer."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from gate import ImageError
from gate.pixels import Pixels
from gate.scorer import Score
from service.concurrency.futures import call_in_loop, gather_or_cancel, settle
from service.errors import InvalidImage, NotReady
from service.inference.batcher import Scored
from service.inference.decode_pool import Decoded, DecodePool
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.observers import DecidedRequest, DecisionObserver, InferenceMetrics
from service.inference.payload import Payload
from service.inference.preprocess import InputSizes, ModelInputs, join_inputs, read_inputs, shrink_inputs
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.settings import Settings

_CLOSE_SECONDS = 1.0


class Pipeline:
    """Decides about images. It owns the decode threads and the inference threads of the served version.

    Args:
        settings: limits and sizes.
        loaded: the version to serve first.
        metrics: counts the model's runs and versions.
        decode_pool: decodes and shrinks; the pipeline starts and closes it.
        observers: are told about every decided request, in this order.
        shadow_size: edge length of the shadow's input, if there is a shadow.
        keep_sources: keep the images as they were sent until the observers have seen them.
    """

    def __init__(
        self,
        settings: Settings,
        loaded: LoadedModel,
        *,
        metrics: InferenceMetrics,
        decode_pool: DecodePool,
        observers: Sequence[DecisionObserver],
        shadow_size: int | None,
        keep_sources: bool,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._decode_pool = decode_pool
        self._observers = tuple(observers)
        self._shadow_size = shadow_size
        self._keep_sources = keep_sources
        self.runner = self._make_runner(loaded)
        self._count_for(self.runner)
        decode_pool.on_end = self._nudge

    @property
    def queued_images(self) -> int:
        """Images that wait for a decode thread or for the model."""
        return self._decode_pool.queued + self.runner.batcher.queued

    def predicted_wait(self) -> float:
        """Seconds until the model takes an image that arrives now."""
        return self._decode_pool.predicted_wait() + self.runner.batcher.predicted_wait()

    def start(self) -> None:
        """Start the threads."""
        self._decode_pool.start()
        self.runner.start()

    async def close(self) -> None:
        """End the threads. All admitted requests have completed; remaining work is discarded."""
        self._decode_pool.close()
        await asyncio.to_thread(self.runner.close, timeout=_CLOSE_SECONDS)

    def check_alive(self) -> None:
        """Raise NotReady if only a restart helps."""
        if not self.runner.batcher.is_alive:
            raise NotReady("an inference thread has ended: restart this replica")

    def swap(self, loaded: LoadedModel) -> None:
        """Serve another version from now on; requests that began with the previous one end with it.

        Raises:
            SettingsError: the operator's band does not fit the new card's; the previous version stays.
            RuntimeError: no further thread can be started; the previous version stays.
        """
        runner = self._make_runner(loaded)
        try:
            runner.start()
        except RuntimeError:
            runner.close(timeout=0.0)
            raise
        previous, self.runner = self.runner, runner
        self._count_for(runner)
        previous.retire()

    async def decide_file(
        self, context: RequestContext, file: Payload[bytes | bytearray], image: ImageRequest
    ) -> ImageDecision:
        """Decode one image file and decide about it.

        The permit's bytes are released after decoding, or after recording where decisions are recorded.

        Raises:
            InvalidImage: the image cannot be judged.
            DeadlineExceeded: the deadline passed before the image was decoded or scored.
        """
        decoded = await self.decode(context, file)
        (decision,) = await self.decide_decoded(context, [decoded], [image])
        return decision

    async def decode(
        self, context: RequestContext, file: Payload[bytes | bytearray | memoryview]
    ) -> Decoded[ModelInputs]:
        """Decode one image file, as soon as the decoders' memory budget allows.

        Raises:
            InvalidImage: the image cannot be judged.
            DeadlineExceeded: the deadline passed before a thread was free.
        """
        claim = self._decode_pool.budget.claim()
        work = partial(
            read_inputs,
            sizes=self._sizes(context),
            max_pixels=self._settings.max_pixels,
            budget=claim,
            keep_source=self._keep_sources,
        )
        try:
            decoded = await self._decode_pool.run(work, file, deadline=context.deadline)
        except asyncio.CancelledError:
            claim.cancel()
            raise
        except ImageError as error:
            raise InvalidImage(str(error), code=error.code) from error
        _note_decode(context, decoded)
        return decoded

    async def decide_decoded(
        self, context: RequestContext, decoded: Sequence[Decoded[ModelInputs]], images: Sequence[ImageRequest]
    ) -> list[ImageDecision]:
        """Decide about all images of a request at once. The caller holds the request's body no longer.

        Raises:
            DeadlineExceeded: the deadline passed before the images were scored.
        """
        inputs = join_inputs([each.made for each in decoded])
        return await self._decide(context, inputs, images, waited=max(each.waited for each in decoded))

    async def decide_pixels(
        self, context: RequestContext, pixels: Payload[Pixels], images: Sequence[ImageRequest]
    ) -> list[ImageDecision]:
        """Decide about N images at once, uint8 `[N, H, H, 3]`, H a multiple of the model's input size.

        Raises:
            DeadlineExceeded: the deadline passed before the images were shrunk or scored.
        """
        sizes = self._sizes(context)
        work = partial(shrink_inputs, sizes=sizes, keep_source=self._keep_sources)
        if not sizes.are_below(pixels.data.shape[1]):
            return await self._decide(context, work(pixels.take()), images, waited=0.0)
        shrunk = await self._decode_pool.run(work, pixels, deadline=context.deadline)
        _note_decode(context, shrunk)
        return await self._decide(context, shrunk.made, images, waited=shrunk.waited)

    async def _decide(
        self, context: RequestContext, inputs: ModelInputs, images: Sequence[ImageRequest], *, waited: float
    ) -> list[ImageDecision]:
        if not inputs.sources:
            context.permit.release_bytes()
        scores = await self._score(context, inputs.served, waited)
        runner = context.runner
        decisions = [
            ImageDecision(score, runner.decide(score, image.expected), runner)
            for score, image in zip(scores, images, strict=True)
        ]
        if not context.is_trial:
            request = DecidedRequest(context, images, decisions, inputs)
            for observer in self._observers:
                await observer.decided(request)
        return decisions

    async def _score(self, context: RequestContext, pixels: Pixels, waited: float) -> list[Score]:
        """Score N images in runs of at most the batch size; the first failure drops the queued rest."""
        step = context.runner.batcher.part_size(len(pixels))
        # Taken before submission: the model may have begun by the time that returns.
        queued = time.monotonic()
        parts = [pixels[first : first + step] for first in range(0, len(pixels), step)]
        scored = await gather_or_cancel(_score_part(context, part, waited) for part in parts)
        context.stages.add("queue", queued, scored[0].started)
        for part in scored:
            context.stages.add("inference", part.started, part.ended)
        return [score for part in scored for score in part.scores]

    def _sizes(self, context: RequestContext) -> InputSizes:
        return InputSizes(context.runner.size, self._shadow_size)

    def _nudge(self) -> None:
        """Check a delayed batch again: fewer images wait to be decoded."""
        self.runner.batcher.recheck()

    def _make_runner(self, loaded: LoadedModel) -> ModelRunner:
        pool = self._decode_pool
        return ModelRunner(loaded, self._settings, observer=self._metrics, threads=pool.threads, backlog=pool.backlog)

    def _count_for(self, runner: ModelRunner) -> None:
        self._metrics.serve(runner.card, runner.band, provider=runner.provider)


async def _score_part(context: RequestContext, pixels: Pixels, waited: float) -> Scored:
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


def _note_decode(context: RequestContext, decoded: Decoded[Any]) -> None:
    context.stages.add("queue", decoded.submitted, decoded.started)
    context.stages.add("decode", decoded.started, decoded.ended)
