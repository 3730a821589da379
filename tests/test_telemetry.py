"""No command looks up a name or connects to another machine by itself, where `CI` does not keep libraries quiet."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.images import encode, flat
from tests.support.network import NetworkTrace, trace_network
from tests.support.servers import TIMEOUT, running_process

ROOT = Path(__file__).parents[1]
MODELS = str(ROOT / "models")


@pytest.fixture
def trace(tmp_path: Path) -> NetworkTrace:
    return trace_network(tmp_path)


def run(trace: NetworkTrace, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        env={**trace.environment, "LENSGATE_MODELS": MODELS},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )


def test_the_trace_sees_a_look_up_and_a_connection(trace: NetworkTrace) -> None:
    code = (
        "import contextlib, socket\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('nowhere.invalid', 80)\n"
        "udp = socket.socket(type=socket.SOCK_DGRAM)\n"
        "with contextlib.suppress(OSError): udp.connect(('192.0.2.1', 9))\n"
        "with contextlib.suppress(OSError): udp.connect(('127.0.0.1', 9))\n"
    )
    run(trace, "-c", code)
    assert [line for line in trace.seen if ".invalid" in line or "192.0.2.1" in line] == [
        "getaddrinfo nowhere.invalid",
        "connect 192.0.2.1",
    ]
    assert "127.0.0.1" not in " ".join(trace.seen)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "lensgate", "classify", "samples/frames-1.png"],
        ["-m", "lensgate", "models", "verify", "2"],
        ["-c", "import bench.serving.peers.model"],
        ["-c", "import bench.serving.limits"],
    ],
    ids=["classify", "models", "peer", "limits"],
)
def test_a_command_makes_no_connection(command: Sequence[str], trace: NetworkTrace) -> None:
    done = run(trace, *command)
    assert (trace.seen, trace.written) == ([], [])
    assert "elemetry" not in done.stdout + done.stderr


def test_a_bulk_run_makes_no_connection(trace: NetworkTrace) -> None:
    run(trace, "-m", "lensgate", "bulk", "samples", str(trace.folder / "out"), "--models", MODELS)
    assert (trace.seen, trace.written) == ([], [])


def test_the_service_makes_no_connection_and_logs_only_json(trace: NetworkTrace) -> None:
    environment = {**trace.environment, "LENSGATE_MODELS": MODELS}
    with running_process(trace.folder / "log", environment) as process:
        httpx.post(f"{process.url}/v1/decisions", content=encode(flat(255)), timeout=TIMEOUT, trust_env=False)
        process.process.terminate()
        assert process.process.wait(TIMEOUT) == 0
    assert (trace.seen, trace.written) == ([], [])
    assert all(line.startswith("{") for line in process.log.read_text().splitlines())
