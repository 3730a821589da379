import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.errors import MalformedRequest, SettingsError
from service.http import tracing
from service.http.request_log import RequestLog
from service.http.scope_state import RequestState
from service.http.tracing import Tracer
from service.metrics.decisions import Metrics
from service.server import make_tracer
from service.settings import Settings
from service.timings import Stage, Stages
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, running_process

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{CALLER}-00f067aa0ba902b7-01"
UNSAMPLED = f"{TRACEPARENT[:-1]}0"


def no_header(_: str) -> list[str]:
    return []


def record(exporter: SpanExporter, *, status: int = 200, headers: list[tuple[str, str]] | None = None) -> str | None:
    tracer = Tracer("http://unused", exporter=exporter)
    stages = [Stage("read", 1.0, 1.5), Stage("decode", 1.5, 3.5)]
    trace_id = tracer.record(
        "POST /v1/decisions",
        stages,
        started=1.0,
        headers=lambda name: [value for each, value in headers or () if each == name],
        attributes={"http.response.status_code": status, "http.route": "/v1/decisions"},
    )
    tracer.close()
    return trace_id


def test_a_request_is_a_span_with_one_below_it_for_each_stage() -> None:
    exporter = InMemorySpanExporter()
    trace_id = record(exporter)
    read, decode, request = exporter.get_finished_spans()
    assert [span.name for span in (request, read, decode)] == ["POST /v1/decisions", "read", "decode"]
    assert request.kind is SpanKind.SERVER
    assert request.resource.attributes["service.name"] == "lensgate"
    assert read.parent == decode.parent == request.context
    assert trace_id == f"{request.context.trace_id:032x}"
    assert decode.end_time is not None
    assert decode.start_time is not None
    assert decode.end_time - decode.start_time == 2_000_000_000
    assert request.start_time == read.start_time


def test_the_callers_trace_goes_on() -> None:
    exporter = InMemorySpanExporter()
    assert record(exporter, headers=[("traceparent", TRACEPARENT)]) == CALLER
    request = exporter.get_finished_spans()[-1]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "00f067aa0ba902b7"


def test_the_callers_state_is_taken_from_all_its_headers() -> None:
    exporter = InMemorySpanExporter()
    record(exporter, headers=[("traceparent", TRACEPARENT), ("tracestate", "a=1,b=2"), ("tracestate", "c=3")])
    assert exporter.get_finished_spans()[-1].context.trace_state.to_header() == "a=1,b=2,c=3"


def test_a_caller_that_does_not_sample_is_obeyed() -> None:
    exporter = InMemorySpanExporter()
    assert record(exporter, headers=[("traceparent", UNSAMPLED)]) is None
    assert not exporter.get_finished_spans()


@pytest.mark.parametrize(("propagators", "continues"), [("tracecontext,baggage", True), ("none", False)])
def test_the_variable_of_opentelemetry_says_whose_traces_go_on(
    monkeypatch: pytest.MonkeyPatch, propagators: str, continues: bool
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", propagators)
    found = record(InMemorySpanExporter(), headers=[("traceparent", TRACEPARENT)])
    assert (found == CALLER) == continues


def test_a_propagator_that_is_not_installed_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Clusters often set `tracecontext,baggage,b3` for all pods."""
    monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontext,unheard-of")
    assert record(InMemorySpanExporter(), headers=[("traceparent", TRACEPARENT)]) == CALLER
    assert "OTEL_PROPAGATORS has no effect, only traceparent is read: Propagator unheard-of not found" in caplog.text


def test_a_propagator_that_is_not_installed_does_not_stop_fastapi() -> None:
    """It imports the module that reads the variable, whether there are traces or not."""
    code = "import os, service, opentelemetry.propagate; print(os.environ['OTEL_PROPAGATORS'])"
    environment = {"OTEL_PROPAGATORS": "unheard-of"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert ran.stdout == b"unheard-of\n"


def test_a_caller_cannot_fill_the_log_with_baggage(caplog: pytest.LogCaptureFixture) -> None:
    headers = [("traceparent", TRACEPARENT), ("baggage", "no list member")]
    assert record(InMemorySpanExporter(), headers=headers) == CALLER
    assert caplog.messages == []


class SlowExporter(InMemorySpanExporter):
    """Exports no span until it is shut down, as behind a collector that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_told = threading.Event()
        self.was_told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.was_told = self.is_told.wait(20)  # Less than the 30 s after which OpenTelemetry gives up.
        return super().export(spans)

    def shutdown(self) -> None:
        self.is_told.set()


def test_a_collector_that_does_not_answer_cannot_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_SECONDS", 0.01)
    exporter = SlowExporter()
    record(exporter)
    assert exporter.was_told


@pytest.mark.parametrize(("status", "expected"), [(422, StatusCode.UNSET), (500, StatusCode.ERROR)])
def test_only_a_fault_of_ours_is_an_error(status: int, expected: StatusCode) -> None:
    exporter = InMemorySpanExporter()
    record(exporter, status=status)
    assert exporter.get_finished_spans()[-1].status.status_code is expected


def test_stages_of_one_name_are_summed() -> None:
    now = 5.0
    stages = Stages(clock=lambda: now)
    stages.add("queue", 1.0, 1.25)
    with stages.measure("decode"):
        now = 5.5
    stages.add("queue", 6.0, 6.25)
    assert stages.milliseconds() == {"queue": 500.0, "decode": 500.0}
    stages.add("decode", 7.0, 7.125)
    assert stages.latest() == {"queue": 0.5, "decode": 0.125}


def test_a_key_in_the_address_of_the_collector_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        tracer = Tracer(f"http://127.0.0.1:{closed.getsockname()[1]}/v1/traces?key=hush")
        tracer.record("GET /", [], started=1.0, headers=no_header, attributes={"http.response.status_code": 200})
        with caplog.at_level("DEBUG"):
            tracer.close()
    assert "url: /v1/traces?..." in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "lensgate"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=gate-eu,deployment.environment=test"}, "gate-eu"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=gate-eu", "OTEL_SERVICE_NAME": "gate-us"}, "gate-us"),
    ],
)
def test_the_variables_of_opentelemetry_name_the_service(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    exporter = InMemorySpanExporter()
    record(exporter)
    assert exporter.get_finished_spans()[-1].resource.attributes["service.name"] == name


@pytest.mark.parametrize("name", ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
def test_a_variable_that_opentelemetry_refuses_is_an_error_of_settings(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "-1")
    with pytest.raises(SettingsError, match=r"OTEL_\* .* must be"):
        Tracer("http://unused", exporter=InMemorySpanExporter())


@pytest.mark.parametrize(
    ("endpoint", "protocol", "is_warned"),
    [
        ("http://collector:4317", "", True),
        ("http://collector:4318", "grpc", True),
        ("http://collector:4318", "http/protobuf", False),
        ("http://[::1]:14317/v1/traces", "", False),
    ],
)
def test_what_asks_for_grpc_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, endpoint: str, protocol: str, is_warned: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    Tracer(endpoint, exporter=InMemorySpanExporter()).close()
    assert ("OTLP over HTTP, which collectors usually accept on port 4318" in caplog.text) == is_warned


def test_an_endpoint_of_opentelemetry_alone_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    with caplog.at_level("INFO"):
        assert make_tracer(Settings()) is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT has no effect without LENSGATE_TRACES_ENDPOINT" in caplog.text


def attributes_of(state: RequestState, status: int) -> dict[str, object]:
    exporter = InMemorySpanExporter()
    tracer = Tracer("http://unused", exporter=exporter)
    log = RequestLog(Metrics(CollectorRegistry()), tracer=tracer)
    log.observe(state, method="POST", path="/x", route="/x", status=status, started=0.0, headers=no_header)
    tracer.close()
    return dict(exporter.get_finished_spans()[-1].attributes or {})


def test_counts_are_numbers_in_the_trace() -> None:
    found = attributes_of(RequestState(log={"accept": 3, "error": 0, "ended": "complete"}), 200)
    assert (found["lensgate.accept"], found["lensgate.error"], found["lensgate.ended"]) == (3, 0, "complete")
    assert "error.type" not in found


def test_the_trace_of_a_failed_request_names_its_error() -> None:
    state = RequestState(log={"id": "face-7"}, problem=MalformedRequest("limit: too small"))
    found = attributes_of(state, 400)
    assert (found["error.type"], found["lensgate.detail"]) == ("malformed_request", "limit: too small")
    assert found["lensgate.id"] == "face-7"


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP/HTTP collector that keeps the requests."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


def test_a_collector_gets_the_stages_of_a_real_request_and_the_log_their_trace(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}
    with collector() as (endpoint, bodies):
        with running_process(tmp_path / "log", environment, "--traces-endpoint", endpoint) as process:
            headers = {"traceparent": TRACEPARENT, "X-Request-ID": "abc-7"}
            body = encode(flat(255))
            httpx.post(f"{process.url}/v1/decisions", content=body, headers=headers, trust_env=False)
            accepts = {
                "Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                "traceparent": UNSAMPLED,
            }
            scraped = httpx.get(f"{process.url}/metrics", headers=accepts, trust_env=False)
            plain = httpx.get(f"{process.url}/metrics", headers={"traceparent": UNSAMPLED}, trust_env=False)
        linked = {
            (sample.name, sample.exemplar.labels["trace_id"])
            for family in text_string_to_metric_families(scraped.text)  # type: ignore[no-untyped-call]
            for sample in family.samples
            if sample.exemplar
        }
        timers = ("request_duration", "decode", "queue_wait", "inference")
        assert linked == {(f"lensgate_{timer}_seconds_bucket", CALLER) for timer in timers}
        assert plain.headers["content-type"].startswith("text/plain")
        assert CALLER not in plain.text
        spans = [
            span
            for body in bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
    assert {span.trace_id.hex() for span in spans} == {CALLER}
    assert {"read", "decode", "queue", "inference", "POST /v1/decisions"} == {span.name for span in spans}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    request = spans[-1]
    assert all(request.start_time_unix_nano <= span.start_time_unix_nano for span in spans)
    assert all(span.end_time_unix_nano <= request.end_time_unix_nano for span in spans)
    attributes = {attribute.key: attribute.value for attribute in request.attributes}
    assert attributes["lensgate.request_id"].string_value == "abc-7"
    assert attributes["lensgate.decision"].string_value == "accept"
    (line,) = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if "POST /v1" in line)
    assert line["trace_id"] == CALLER
    assert "Failed to export" not in (tmp_path / "log").read_text()
    assert set(line["stages"]) == {"read", "queue", "decode", "inference"}


def test_a_collector_that_is_gone_costs_no_answer_and_little_time_at_the_end(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}
    with running_process(tmp_path / "log", environment, "--traces-endpoint", "http://127.0.0.1:9/v1/traces") as process:
        answer = httpx.post(f"{process.url}/v1/decisions", content=encode(flat(255)), trust_env=False)
        assert answer.status_code == 200
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(TIMEOUT) == 0


def test_without_an_endpoint_the_sdk_is_not_imported() -> None:
    code = "import sys, service.server; print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
