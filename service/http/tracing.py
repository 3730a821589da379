"""Traces over OTLP, off unless an endpoint is set: a span for each request and one below it for each of its stages.

Needs the extra `tracing`. All else about traces is set by OpenTelemetry's own variables: `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`.
"""

import os
import time
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.timings import Stage

EXPORT_SECONDS = 2.0
"""Longest that sending a batch of spans may take: a collector that is gone must not hold up the end of the process."""

_callers = TraceContextTextMapPropagator()


class Tracer:
    """Makes the spans of a request when it is over, from the times that were taken anyway.

    Args:
        endpoint: where a collector takes OTLP over HTTP.
        exporter: where spans go instead.
    """

    def __init__(self, endpoint: str, *, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "lensgate")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = exporter or OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lensgate")

    def record(
        self,
        name: str,
        stages: Sequence[Stage],
        *,
        started: float,
        headers: Mapping[str, str],
        attributes: Mapping[str, str | int | float],
    ) -> str | None:
        """Make the spans of one request that ends now; returns the trace's id where it is sampled.

        Args:
            name: method and route.
            stages: what the request went through.
            started: when it came, by the monotonic clock in seconds.
            headers: of the request; `traceparent` makes it part of the caller's trace.
            attributes: of the request's span, `http.response.status_code` among them.
        """
        # Spans stand in wall-clock time. It is asked once, so that a jump of that clock distorts no span.
        offset = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            _callers.extract(headers),
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=_nanoseconds(started) + offset,
        )
        if span.is_recording():
            inside = set_span_in_context(span)
            for stage in stages:
                child = self._tracer.start_span(stage.name, inside, start_time=_nanoseconds(stage.started) + offset)
                child.end(_nanoseconds(stage.ended) + offset)
        if int(attributes["http.response.status_code"]) >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()
        context = span.get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    def close(self) -> None:
        """Send what is left, as far as the collector takes it."""
        self._provider.shutdown()


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
