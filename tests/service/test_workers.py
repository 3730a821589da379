"""Several worker processes behind one port: the sum of their metrics, and their ends and reloads under load."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.access.shared_buckets import make_memory
from service.errors import SettingsError
from service.http.ports import bind_port, check_ports
from service.process.frames import Channel, Frame, Kind
from service.process.parent import WorkerOptions, python_command
from service.settings import Settings
from tests.service.test_signals import load_on
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, reload_order, running_process, wait_until

WHITE = encode(flat(255))
START = 120.0
"""Longest wait for a worker to load its model, on a busy machine."""
ANSWERED = {"route": "/v1/decisions", "status": "200"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "models"
    write_model(folder, brightness_model())
    return folder


@pytest.fixture(scope="module")
def pair(models: Path) -> Iterator[Process]:
    """Two workers that listen."""
    environment = {**os.environ, "LENSGATE_MODELS": str(models), "LENSGATE_MODEL_POLL_SECONDS": "0.1"}
    with running_process(models.parent / "log", environment, "--workers", "2") as process:
        wait_until(lambda: len(processes(process)) == 2, timeout=START)
        yield process


def lines(process: Process, message: str) -> list[int]:
    """The numbers of the workers that logged a message, in its order."""
    found = (json.loads(line) for line in process.log.read_text().splitlines() if message in line)
    return [line["worker"] for line in found if "worker" in line and line["message"].startswith(message)]


def processes(process: Process) -> dict[int, int]:
    """The pid of each worker that listens, by its number."""
    listening = lines(process, "running on")
    started = re.findall(r'"Started server process \[(\d+)\]","worker":(\d)', process.log.read_text())
    return {int(number): int(pid) for pid, number in started if int(number) in listening}


def post(process: Process) -> int:
    """Ask over a new connection, which the kernel gives to either worker."""
    return httpx.post(f"{process.url}/v1/decisions", content=WHITE, timeout=TIMEOUT, trust_env=False).status_code


def metrics(process: Process, name: str, **labels: str) -> dict[str, float]:
    """The values of a metric with these labels, by their other labels."""
    text = httpx.get(f"{process.url}/metrics", timeout=TIMEOUT, trust_env=False).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return {
        ",".join(value for label, value in s.labels.items() if label not in labels): s.value
        for s in samples
        if labels.items() <= s.labels.items()
    }


def answered(process: Process) -> int:
    return int(metrics(process, "lensgate_requests_total", **ANSWERED)[""])


def up(process: Process) -> dict[str, float]:
    return metrics(process, "lensgate_worker_up")


def metrics_of_the_other(process: Process) -> str:
    """The metrics from the worker that is not stopped: the kernel also offers connections to the stopped one."""
    for _ in range(32):
        try:
            return httpx.get(f"{process.url}/metrics", timeout=httpx.Timeout(3.0), trust_env=False).text
        except httpx.ReadTimeout:
            continue
    raise AssertionError("no worker answered")


def test_any_worker_shows_the_sum_of_all(pair: Process) -> None:
    expected = answered(pair)
    asked = len(lines(pair, "POST /v1/decisions"))
    while set(lines(pair, "POST /v1/decisions")[asked:]) != {1, 2}:
        assert post(pair) == 200
        expected += 1
    wait_until(lambda: answered(pair) == expected)  # A request is counted once its answer has been sent.
    for _ in range(4):
        assert answered(pair) == expected
        assert up(pair) == {"1": 1.0, "2": 1.0}
    shown = httpx.get(f"{pair.url}/v1/operations", trust_env=False).json()
    assert shown["decisions"] == expected


def test_the_parent_loads_neither_model_nor_framework_and_is_quiet(pair: Process) -> None:
    mapped = Path(f"/proc/{pair.process.pid}/maps").read_text()
    assert not re.findall("onnxruntime|numpy|PIL|pydantic", mapped)
    listening = Path(f"/proc/{pair.process.pid}/net/tcp").read_text()
    port = f"{urlsplit(pair.url).port:04X}"
    assert len(re.findall(rf":{port} 00000000:0000 0A", listening)) == 2


def test_a_second_start_on_the_port_fails(pair: Process) -> None:
    port = urlsplit(pair.url).port
    assert port
    with pytest.raises(SettingsError, match=f"LENSGATE_PORT={port}: Address already in use"):
        check_ports(Settings(port=port))


def test_counts_survive_the_kill_of_a_worker_and_never_decrease(pair: Process) -> None:
    expected = answered(pair) + 8
    for _ in range(8):
        post(pair)
    wait_until(lambda: answered(pair) == expected)
    shown = [expected]
    restarts = metrics(pair, "lensgate_worker_restarts_total")[""]
    killed = processes(pair)[2]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: processes(pair)[2] != killed, timeout=START)
    while up(pair) != {"1": 1.0, "2": 1.0}:
        shown.append(answered(pair))
    for _ in range(8):
        assert post(pair) == 200
        shown.append(answered(pair))
    wait_until(lambda: answered(pair) == expected + 8)
    assert shown == sorted(shown)
    assert metrics(pair, "lensgate_worker_restarts_total")[""] == restarts + 1
    assert "worker 2 ended by signal SIGKILL" in pair.log.read_text()


def test_a_worker_that_cannot_start_again_is_retried_while_another_serves(pair: Process, models: Path) -> None:
    killed, aside = processes(pair)[2], models.with_name("aside")
    models.rename(aside)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: "worker 2 ended by status 1; it starts again" in pair.log.read_text(), timeout=START)
    assert post(pair) == 200
    aside.rename(models)
    wait_until(lambda: processes(pair)[2] != killed and up(pair) == {"1": 1.0, "2": 1.0}, timeout=START)


def test_a_worker_that_does_not_answer_is_named_and_its_counts_are_kept(pair: Process) -> None:
    before = answered(pair)
    stopped = processes(pair)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        text = metrics_of_the_other(pair)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert 'lensgate_worker_up{worker="1"} 0.0' in text
    assert f'lensgate_requests_total{{route="/v1/decisions",status="200"}} {before:.1f}' in text
    assert "workers did not report their metrics in time: 1" in pair.log.read_text()


def test_hup_reloads_one_worker_after_the_other_and_loses_no_request(pair: Process) -> None:
    found: list[int] = []
    loaded = len(lines(pair, "model loaded"))
    with load_on(pair, found):
        pair.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(lines(pair, "model loaded")) == loaded + 2)
    assert set(found) == {200}
    assert lines(pair, "model loaded")[loaded:] == [1, 2]
    order = [("reloading model", 1), ("model loaded", 1), ("reloading model", 2), ("model loaded", 2)]
    assert reload_order(pair.log)[-4:] == order


def test_promotion_reaches_all_workers_under_load(pair: Process, models: Path) -> None:
    found: list[int] = []
    with load_on(pair, found):
        write_model(models, brightness_model("2"))
        wait_until(lambda: lines(pair, "another version is served")[-2:] in ([1, 2], [2, 1]))
    assert set(found) == {200}
    assert set(metrics(pair, "lensgate_model_info", version="2").values()) == {1.0}
    assert metrics(pair, "lensgate_model_info", version="1") == {}


def test_all_workers_drain_and_answer_what_they_admitted(models: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LENSGATE_MODELS": str(models)}
    with running_process(tmp_path / "log", environment, "--workers", "2") as process:
        address = urlsplit(process.url)
        head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(WHITE)}\r\n\r\n"
        wait_until(lambda: len(processes(process)) == 2, timeout=START)
        begun = [socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) for _ in range(8)]
        for connection in begun:
            connection.sendall(head.encode() + WHITE[:-1])
        wait_until(lambda: metrics(process, "lensgate_inflight_images") == {"": 8.0})
        process.process.terminate()
        wait_until(lambda: lines(process, "Shutting down")[-2:] in ([1, 2], [2, 1]))
        # A service manager that signals all processes of a service sends workers a second signal.
        for worker in processes(process).values():
            os.kill(worker, signal.SIGTERM)
        time.sleep(0.1)
        for connection in begun:
            connection.sendall(WHITE[-1:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.close()
        # Orders to reload that come too late are ignored to the last moment.
        until = time.monotonic() + TIMEOUT
        while process.process.poll() is None and time.monotonic() < until:
            process.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        assert process.process.returncode == 0
    assert sorted(lines(process, "Finished server process")) == [1, 2]


def test_a_worker_that_cannot_start_ends_the_service_with_its_error() -> None:
    command = [sys.executable, "-m", "lensgate", "serve", "--port", "0", "--workers", "2", "--models", "nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
    assert ended.returncode == 1
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("lensgate: "))
    assert "give the folder of models" in line
    assert "worker 1 could not start: status 1" in ended.stderr


def test_a_port_of_workers_is_shared_among_them_alone() -> None:
    (first,) = bind_port("127.0.0.1", 0, share=True)
    with first:
        first.listen()
        port = first.getsockname()[1]
        (second,) = bind_port("127.0.0.1", port, share=True)
        second.close()
        with pytest.raises(SettingsError):
            check_ports(Settings(port=port))


def test_workers_end_with_their_parent(pair: Process) -> None:
    ended = len(lines(pair, "Finished server process"))
    pair.process.kill()
    wait_until(lambda: sorted(lines(pair, "Finished server process")[ended:]) == [1, 2])


def test_a_worker_whose_parent_ended_while_it_loaded_does_not_listen(models: Path) -> None:
    ours, theirs = socket.socketpair()
    rates = make_memory()
    with ours, theirs:
        options = WorkerOptions(
            flags={}, count=2, port=0, metrics_port=None, grpc_port=None, rates=rates, number=1, link=theirs.fileno()
        )
        Channel(ours).send(Frame(Kind.EARLIER))
        with subprocess.Popen(
            python_command("service.worker_command", options.encode()),
            env={**os.environ, "LENSGATE_MODELS": str(models), "LENSGATE_RECORDS_URL": "off"},
            pass_fds=(theirs.fileno(), rates),
            stderr=subprocess.PIPE,
            text=True,
        ) as worker:
            theirs.close()
            ours.close()
            _, log = worker.communicate(timeout=START)
    os.close(rates)
    assert (worker.returncode, "lensgate: the parent process has ended" in log, "running on" in log) == (1, True, False)
