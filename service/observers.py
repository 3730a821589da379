"""Pass the pipeline's decisions on to the metrics and to the records."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial

from service.inference.observers import DecidedRequest
from service.metrics.decisions import Metrics
from service.records.audit_draws import AuditDraws
from service.records.decision_record import DecisionRecord
from service.records.preview import bytes_to_detach
from service.records.recorder import Recorder

_INLINE_BYTES = 2**20
"""Most bytes of images that are copied for the record in the event loop. Copying the largest body takes 0.1 s."""


class CountDecisions:
    """Counts every decision in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def decided(self, request: DecidedRequest) -> None:
        """Count the decisions of one request."""
        for image, each in zip(request.images, request.decisions, strict=True):
            self._metrics.observe_decision(each.score.probability, each.decision, each.runner.card.version)
            self._metrics.sources.observe(image.source, image.expected, each.decision.reason)


class RecordDecisions:
    """Hands every decision to the recorder.

    Args:
        recorder: writes them.
        audit_ratio: share of accepted images that are kept for review too.
    """

    def __init__(self, recorder: Recorder, *, audit_ratio: float) -> None:
        self._recorder = recorder
        self._draws = AuditDraws(audit_ratio)

    async def decided(self, request: DecidedRequest) -> None:
        """Record the decisions of one request, in a thread where much has to be copied."""
        record = partial(self._record, request)
        if bytes_to_detach(request.inputs.sources) > _INLINE_BYTES:
            await asyncio.to_thread(record)
        else:
            record()

    def _record(self, request: DecidedRequest) -> None:
        for entry, source in zip(self._entries(request), request.inputs.sources, strict=True):
            self._recorder.record(entry, source)

    def _entries(self, request: DecidedRequest) -> Iterator[DecisionRecord]:
        latency = time.monotonic() - request.context.started
        stages = request.context.stages.milliseconds()
        for decided, image in zip(request.decisions, request.images, strict=True):
            yield DecisionRecord(
                identity=image.identity,
                score=decided.score,
                decision=decided.decision,
                expected=image.expected,
                band=decided.runner.band,
                card=decided.runner.card,
                latency=latency,
                draw=self._draws.draw(decided.decision, decided.score.probability),
                source=image.source,
                record=decided.record,
                stages=stages,
            )
