"""Metrics and probes on a port of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.inference.model_runner import LoadedModel
from service.runtime import build_runtime
from service.server import Server
from service.settings import Settings
from tests.service.access.keys import bearer, write_tokens
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, FakeScorer, Running, running_process, running_service, wait_until

WHITE = encode(flat(255))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    path = write_tokens(tmp_path / "tokens.toml", {"boss": 'scopes = ["admin"]'})
    with running_service(tokens=path, metrics_port=0, max_inflight_images=1) as running:
        yield running


@pytest.fixture
def probes(service: Running) -> Iterator[httpx.Client]:
    assert service.server.metrics_url
    with httpx.Client(base_url=service.server.metrics_url, timeout=TIMEOUT, trust_env=False) as client:
        yield client


def test_metrics_and_probes_are_there_without_a_token_and_nothing_else_is(probes: httpx.Client) -> None:
    for path in ("/metrics", "/livez", "/readyz"):
        assert probes.get(path).status_code == 200
        assert probes.head(path).status_code == 200
        assert probes.post(path).status_code == 405
    for path in ("/", "/v1/model", "/v1/decisions", "/docs", "/openapi.json", "/v2/health/ready", "/login"):
        assert probes.get(path).json()["code"] == "not_found"
    assert "lensgate_queued_images 0.0" in probes.get("/metrics").text


def test_main_port_does_not_serve_probes_of_a_separate_port(service: Running) -> None:
    for path in ("/metrics", "/livez", "/readyz"):
        assert service.client.get(path, headers=bearer("boss")).status_code == 404
    assert service.client.get("/v2/health/ready").status_code == 200


def test_probes_answer_while_the_service_is_full(service: Running, probes: httpx.Client) -> None:
    service.scorer.go.clear()
    first = threading.Thread(target=lambda: service.client.post("/v1/decisions", content=WHITE, headers=bearer("boss")))
    first.start()
    wait_until(lambda: service.inflight == 1)
    with httpx.Client(base_url=service.url, headers=bearer("boss"), trust_env=False) as other:
        assert other.post("/v1/decisions", content=WHITE).status_code == 429
    assert probes.get("/readyz").status_code == 200
    service.scorer.go.set()
    first.join(TIMEOUT)


def test_probes_answer_until_admitted_requests_have_finished(service: Running, probes: httpx.Client) -> None:
    service.scorer.go.clear()
    answers: list[int] = []
    first = threading.Thread(
        target=lambda: answers.append(
            service.client.post("/v1/decisions", content=WHITE, headers=bearer("boss")).status_code
        )
    )
    first.start()
    wait_until(lambda: service.inflight == 1)
    service.stop()
    wait_until(lambda: not service.server.servers[0].is_serving())
    assert (probes.get("/readyz").status_code, probes.get("/livez").status_code) == (503, 200)
    assert "lensgate_decisions_total" in probes.get("/metrics").text
    service.scorer.go.set()
    first.join(TIMEOUT)
    assert answers == [200]
    service.thread.join(TIMEOUT)
    with pytest.raises(httpx.TransportError):
        probes.get("/livez")


def test_it_does_not_start_on_a_port_that_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "lensgate", "serve", "--port", "0", "--metrics-port"]
        ran = subprocess.run(
            [*command, str(taken.getsockname()[1])],
            env={**os.environ, "LENSGATE_MODELS": str(tmp_path / "models"), "LENSGATE_RECORDS_URL": "off"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("lensgate: LENSGATE_HOST=127.0.0.1 LENSGATE_METRICS_PORT=")


def test_a_port_that_is_taken_while_the_model_loads_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(port=0, metrics_port=taken.getsockname()[1], records_url="off")
        server = Server(settings, build_runtime(settings, LoadedModel(brightness_model().card, FakeScorer(), "fake")))
        with pytest.raises(SystemExit) as left:
            server.run()
    assert left.value.code == 3
    assert "LENSGATE_METRICS_PORT" in caplog.text


def test_the_log_of_a_process_says_where_they_are(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}
    with running_process(tmp_path / "log", environment, "--metrics-port", "0") as process:
        wait_until(lambda: "metrics on" in process.log.read_text())
        found = re.search(r"metrics on (http://\S+?)\"", process.log.read_text())
        assert found
        assert httpx.get(f"{found[1]}/readyz", trust_env=False).status_code == 200
        assert httpx.get(f"{process.url}/readyz", trust_env=False).status_code == 404
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(TIMEOUT) == 0
        assert "Traceback" not in process.log.read_text()


def test_without_the_setting_there_is_no_second_port() -> None:
    with running_service() as service:
        assert isinstance(service.server, Server)
        assert service.server.metrics_url is None
        assert service.client.get("/metrics").status_code == 200
