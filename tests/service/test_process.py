"""The service as the process an operator starts and stops."""

import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from lensgate.cli import main
from service.settings import Settings
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, running_process, wait_until

WHITE = encode(flat(255))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    write_model(tmp_path / "models", brightness_model())
    return {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}


def post(process: Process, body: bytes) -> httpx.Response:
    return httpx.post(f"{process.url}/v1/decisions", content=body, timeout=TIMEOUT, trust_env=False)


# GNU timeout and make signal a process and its group. One that was stopped meanwhile gets both signals at once.
TWICE = (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT)


@pytest.mark.parametrize("sent", [(signal.SIGTERM,), (signal.SIGINT,), TWICE], ids=["TERM", "INT", "twice"])
def test_a_signal_ends_it_with_status_0_after_what_was_admitted(
    sent: Sequence[signal.Signals], environment: dict[str, str], tmp_path: Path
) -> None:
    with running_process(tmp_path / "log", environment) as process:
        address = urlsplit(process.url)
        with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
            head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(WHITE)}\r\n\r\n"
            connection.sendall(head.encode() + WHITE[:-1])
            wait_until(lambda: "inflight_bytes 0" not in httpx.get(f"{process.url}/metrics", trust_env=False).text)
            for number in sent:
                process.process.send_signal(number)
            wait_until(lambda: "Shutting down" in process.log.read_text())
            connection.sendall(WHITE[-1:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert process.process.wait(TIMEOUT) == 0
    with pytest.raises(httpx.ConnectError):
        post(process, WHITE)


def is_ended_by_more_signals(process: Process) -> bool:
    """Send a signal; those of the first half second belong to the first one."""
    process.process.terminate()
    return process.process.poll() is not None


def test_second_signal_exits_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    with running_process(tmp_path / "log", environment) as process:
        address = urlsplit(process.url)
        with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
            connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            wait_until(lambda: "inflight_bytes 9" in httpx.get(f"{process.url}/metrics", trust_env=False).text)
            process.process.terminate()
            wait_until(lambda: "Shutting down" in process.log.read_text())
            assert process.process.poll() is None
            wait_until(lambda: is_ended_by_more_signals(process))
            assert process.process.returncode == 1


def test_every_line_of_the_log_is_json_and_a_request_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    with running_process(tmp_path / "log", {**environment, "LENSGATE_PROT": "1"}) as process:
        answer = post(process, WHITE)
        refused = post(process, b"")
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    warned = "LENSGATE_PROT is not a setting and has no effect: did you mean LENSGATE_PORT?"
    assert [line["message"] for line in lines if line["level"] == "warning"] == [warned]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    decided, failed = (line for line in lines if line["logger"] == "service.access")
    assert decided["request_id"] == answer.headers["x-request-id"]
    assert (decided["route"], decided["status"], decided["decision"]) == ("/v1/decisions", 200, "accept")
    assert (failed["status"], failed["request_id"]) == (422, refused.json()["request_id"])


def test_the_model_in_use_and_its_band_are_metrics(environment: dict[str, str], tmp_path: Path) -> None:
    with running_process(tmp_path / "log", environment, "--band-low", "0.3") as process:
        text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    sha256 = brightness_model().card.sha256
    labels = f'name="glasses",provider="CPUExecutionProvider",sha256="{sha256}",version="1"'
    assert f"lensgate_model_info{{{labels}}} 1.0" in text
    assert "lensgate_band_low 0.3" in text
    assert "lensgate_band_high 0.6" in text
    assert 'lensgate_model_loads_total{result="success"} 1.0' in text
    assert "_created" not in text


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--port", "http"], "--port"),
        (["--models", "nowhere"], "give the folder of models as --models or LENSGATE_MODELS"),
        (["--device", "cuda"], "'.[gpu]'"),
        (["--band-low", "0.9"], "LENSGATE_BAND_LOW"),
    ],
)
def test_startup_error_is_one_line(
    flags: list[str],
    named: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LENSGATE_MODELS", environment["LENSGATE_MODELS"])
    assert main(["serve", *flags]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("lensgate: "))
    assert named in line


def test_a_model_that_was_altered_is_not_served(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LENSGATE_MODELS", environment["LENSGATE_MODELS"])
    graph = Settings.load({}).models / "glasses/1/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert main(["serve"]) == 1
    assert "hashes differ" in capsys.readouterr().err
