"""Traces over OTLP, off unless an endpoint is set: a span for each request and one below it for each of its stages.

Needs the extra `tracing`. OpenTelemetry's own variables configure the rest: `OTEL_SERVICE_NAME`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_PROPAGATORS`, `OTEL_EXPORTER_OTLP_HEADERS`.
"""

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import SettingsError
from service.timings import Stage

EXPORT_SECONDS = 2.0
"""Timeout of one export, and of all those of the shutdown together: a dead collector must not delay it."""

log = logging.getLogger(__name__)

_GRPC_PORT = 4317
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_LOGGERS = (OTLPSpanExporter.__module__, "urllib3.connectionpool")

_Headers = Callable[[str], Sequence[str]]
"""Returns the values of a header."""


class _HeaderGetter(Getter[_Headers]):
    """Reads the headers that a propagator asks for, except baggage: spans have none, and its faults would be logged."""

    def get(self, carrier: _Headers, key: str) -> list[str]:
        return [] if key == "baggage" else list(carrier(key.lower()))

    def keys(self, carrier: _Headers) -> list[str]:  # noqa: ARG002
        return []


class Tracer:
    """Creates the spans of a request after it has ended, from the times measured for the log.

    Args:
        endpoint: of a collector that accepts OTLP over HTTP; without a path, the usual one is added.
        exporter: replaces the OTLP exporter.

    Raises:
        SettingsError: a variable of OpenTelemetry has a value that it refuses; others it ignores with a warning.
    """

    def __init__(self, endpoint: str, *, exporter: SpanExporter | None = None) -> None:
        _hide_query(endpoint)
        _warn_of_grpc(endpoint)
        try:
            self._provider = TracerProvider(resource=_describe_service(), shutdown_on_exit=False)
            self._exporter = exporter or OTLPSpanExporter(_with_path(endpoint), timeout=EXPORT_SECONDS)
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
            self._callers = _load_propagator()
        except ValueError as error:
            raise SettingsError(f"a variable OTEL_* has a value that OpenTelemetry refuses: {error}") from error
        self._tracer = self._provider.get_tracer("lensgate")

    def record(
        self,
        name: str,
        stages: Sequence[Stage],
        *,
        started: float,
        headers: _Headers,
        attributes: Mapping[str, str | int | float],
    ) -> str | None:
        """Create the spans of a request that ends now; return the trace id if it is sampled.

        Args:
            name: method and route.
            stages: the work on the request.
            started: its arrival, in seconds of the monotonic clock.
            headers: returns the values of a header; `traceparent`, or those of `OTEL_PROPAGATORS`, continue the
                caller's trace.
            attributes: of the request's span, `http.response.status_code` among them.
        """
        # Spans use wall-clock time. One offset for all of them keeps durations right if that clock jumps.
        offset = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            self._callers.extract(headers, getter=_HeaderGetter()),
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
        """Flush pending spans, as far as the collector accepts them within `EXPORT_SECONDS`; drop the rest."""
        # A full queue is several exports, each of which may take that long.
        end = threading.Timer(EXPORT_SECONDS, self._exporter.shutdown)
        end.start()
        self._provider.shutdown()
        end.cancel()


def _load_propagator() -> TextMapPropagator:
    try:
        importlib.reload(propagate)  # It reads OTEL_PROPAGATORS, and was imported without it.
    except Exception as error:  # A fleet often sets the variable for all its services.
        log.warning("OTEL_PROPAGATORS has no effect, only traceparent is read: %s", error)
        return TraceContextTextMapPropagator()
    return propagate.get_global_textmap()


def _describe_service() -> Resource:
    """Return the attributes of OpenTelemetry's variables, and a name for the service if they have none."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "lensgate"}))
    return resource


def _with_path(endpoint: str) -> str:
    """Add the path of the protocol to an address alone, which collectors answer 404."""
    parts = urlsplit(endpoint)
    return endpoint if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


def _warn_of_grpc(endpoint: str) -> None:
    """Name what asks for gRPC: from its port the exporter gets bytes that its own log line does not explain."""
    protocol = next(filter(None, map(os.environ.get, _PROTOCOLS)), "")
    if protocol == "grpc" or urlsplit(endpoint).netloc.endswith(f":{_GRPC_PORT}"):
        log.warning(
            "traces are sent by OTLP over HTTP, which collectors usually accept on port 4318, and not over gRPC: "
            "change LENSGATE_TRACES_ENDPOINT or %s",
            _PROTOCOLS[1],
        )


def _hide_query(endpoint: str) -> None:
    """Keep the query of the endpoint, which may hold a key, out of the log lines of the exporter and its client."""
    if not (query := urlsplit(endpoint).query):
        return

    def hide(line: logging.LogRecord) -> bool:
        line.msg, line.args = line.getMessage().replace(query, "..."), None
        return True

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(hide)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
