"""How a request flows: admission -> decode -> batch -> decision, and the order in which all of it ends."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from gate import Band, Card, Decision, ImageError, Label, decide
from gate.scorer import Score
from service.admission import Admission, Place
from service.batching import Batcher, CanScore
from service.body import content_length, read_body, while_connected
from service.decoding import DecodePool
from service.errors import DeadlineExceeded, Draining, InvalidImage, NotReady, Overloaded
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's score and what follows from it."""

    score: Score
    decision: Decision


class Pipeline:
    """Everything between a request and its answer. It owns the decode threads and the inference thread.

    Args:
        settings: limits and sizes.
        scorer: the model.
        card: the model's card.
        band: what is too uncertain.
        metrics: is told of everything.
    """

    def __init__(self, settings: Settings, scorer: CanScore, card: Card, *, band: Band, metrics: Metrics) -> None:
        self.card = card
        self.band = band
        self.metrics = metrics
        self._timeout_ms = settings.timeout_ms
        self._batcher = Batcher(
            scorer,
            metrics,
            max_batch_size=settings.max_batch_size,
            max_batch_delay=settings.max_batch_delay_ms / 1000,
            decoding=lambda: self._decoder.busy,
        )
        self._decoder = DecodePool(
            card.input.size,
            threads=settings.decode_threads,
            max_pixels=settings.max_pixels,
            observe=metrics.observe_decode,
            on_idle=self._batcher.nudge,
        )
        self._admission = Admission(
            max_images=settings.max_inflight_images,
            max_bytes=settings.max_inflight_bytes,
            max_body_bytes=settings.max_body_bytes,
            predicted_wait=lambda: self._decoder.predicted_wait() + self._batcher.predicted_wait(),
        )
        metrics.watch(
            queued_images=lambda: self._decoder.queued + self._batcher.queued,
            inflight_bytes=lambda: self._admission.bytes,
        )

    async def answer(self, request: Request, *, expected: Label | None, timeout_ms: int | None) -> Answer:
        """Judge the one image that is the body of `request`.

        Raises:
            ServiceError: one of its subclasses, naming what is wrong.
        """
        timeout = min(self._timeout_ms, timeout_ms or self._timeout_ms) / 1000
        try:
            with self._admission.admit(content_length(request), timeout) as place:
                async with asyncio.timeout(timeout):
                    # The body is passed on without a name here, so that it is freed once it is decoded.
                    work = self._judge(await read_body(request, place), place, expected)
                    return await while_connected(request, work)
        except TimeoutError as error:
            raise DeadlineExceeded(f"there was no answer within {timeout * 1000:.0f} ms") from error
        except ImageError as error:
            self.metrics.observe_image_error(error.code)
            raise InvalidImage(error) from error
        except Overloaded as error:
            self.metrics.observe_shed(error.reason)
            raise

    def check_alive(self) -> None:
        """Raise NotReady where only a restart helps."""
        if not self._batcher.is_alive:
            raise NotReady("the inference thread has ended")

    def check_ready(self) -> None:
        """Raise NotReady, or Draining, where requests should go elsewhere."""
        self.check_alive()
        if self._admission.is_draining:
            raise Draining("the service is shutting down")

    def drain(self) -> None:
        """Admit nothing more; what was admitted is finished."""
        self._admission.drain()

    def close(self) -> None:
        """End the threads. Whoever was admitted has been answered by now: what still runs is nobody's."""
        self.drain()
        self._decoder.close()
        self._batcher.close(timeout=1.0)

    async def _judge(self, body: bytes, place: Place, expected: Label | None) -> Answer:
        decoded = await self._decoder.decode(body)
        del body
        place.release_bytes()
        score = await asyncio.wrap_future(self._batcher.submit(decoded.pixels, waited=decoded.waited))
        decision = decide(
            score.probability,
            self.band,
            novelty=score.novelty,
            novelty_threshold=self.card.novelty_limit,
            expected=expected,
        )
        self.metrics.observe_decision(score.probability, decision)
        return Answer(score, decision)
