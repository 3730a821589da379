"""The serving benchmark: generators against tiny servers, the table, the bare endpoint, the peers."""

import asyncio
import csv
import hashlib
import os
import re
import select
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from bench import needs
from bench.serving import __main__ as command
from bench.serving import contenders, wrk
from bench.serving.aims import AIMS
from bench.serving.bench import Bench
from bench.serving.client import KeepAliveClient, latencies
from bench.serving.connection import Exchange, ExchangeEnd, NonBlockingConnection
from bench.serving.environments import PEERS, InstallError, python_of
from bench.serving.openloop import EXPECT_BYTES, LoadPlan, LoadResult, offer
from bench.serving.posts import Post, encoded_post, image_post, pixels_post, read_tensors
from bench.serving.processes import StartError, running
from bench.serving.report import ReportRow, RoundValues
from bench.serving.response_parser import HttpResponse, ResponseParser
from bench.serving.tensors import bare_endpoint
from tests.conftest import ROOT

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LARGE = Post("/large", bytes(EXPECT_BYTES + 1))
BUSY = Post("/busy", bytes(EXPECT_BYTES + 1))
SMALL = Post("/small", b"x")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n"
DELAY = 0.05


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """The port of a server that hands every connection to `handler`, in a thread of its own."""
    started = threading.Event()
    state: dict[str, object] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            tasks.add(task)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        state.update(port=server.sockets[0].getsockname()[1], stop=stop, loop=asyncio.get_running_loop())
        started.set()
        await stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    try:
        port, loop, stop = state["port"], state["loop"], state["stop"]
        assert isinstance(port, int)
        yield port
    finally:
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert isinstance(stop, asyncio.Event)
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()


async def late_or_busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """429 to `/busy` before the body is read; 200 to anything else, `DELAY` after the whole body has come."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        if b"/busy" in head:
            writer.write(REFUSED)
            await asyncio.sleep(5)  # It neither reads on nor closes: stopping is the client's part.
            return
        if b"100-continue" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length
        await reader.readexactly(int(length[1]))
        await asyncio.sleep(DELAY)
        writer.write(OK)


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(-1)


def test_the_open_loop_counts_early_refusals_and_late_answers() -> None:
    with serving(late_or_busy) as port:
        result = offer(LoadPlan(port, 60, 1.0), [LARGE, BUSY])
    refused = result.due // 2
    assert 30 <= result.due <= 100
    assert result.statuses == {"200": result.due - refused, "429": refused}
    assert result.early == {"429": refused}
    assert result.wasted == result.no_retry_after == 0
    assert not result.failures
    assert result.in_time <= len(result.latencies) == result.due - refused
    assert min(result.latencies) >= DELAY * 1000


def test_a_blind_client_stops_sending_once_it_is_refused() -> None:
    huge = Post("/busy", bytes(1 << 25))
    with serving(late_or_busy) as port:
        result = offer(LoadPlan(port, 10, 1.0, poisson=False, expect_continue=False), [huge])
    assert result.statuses == {"429": 10} == result.early
    assert 0 < result.wasted < 10 * len(huge.body)


def test_latency_counts_from_when_a_request_was_due() -> None:
    with serving(late_or_busy) as port:
        result = offer(LoadPlan(port, 40, 1.0, poisson=False, connections=1), [SMALL])
    assert result.statuses == {"200": result.due}
    # One connection answers 20 a second: the last of 40 waits for about a second, however late it was sent.
    assert max(result.latencies) > 700
    assert result.lag > 700
    assert result.in_time < result.due


def test_unanswered_requests_end_as_failures() -> None:
    with serving(silent) as port:
        result = offer(LoadPlan(port, 20, 0.5, poisson=False, connections=2, timeout=0.3), [SMALL])
    assert not result.statuses
    assert set(result.failures) <= {"timeout", "unsent"}
    assert sum(result.failures.values()) == result.due


def test_a_connection_that_ends_without_an_answer_is_lost() -> None:
    async def rude(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    with serving(rude) as port:
        result = offer(LoadPlan(port, 20, 0.5), [SMALL])
    assert result.failures == {"lost": result.due}


def test_a_connection_that_ends_with_its_answer_is_not_used_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = NonBlockingConnection(listener.getsockname()[1])
        server, _ = listener.accept()
        exchange = Exchange(0.0, SMALL.head(), memoryview(SMALL.body), waits=False)
        connection.begin(exchange, 0.0)
        assert connection.handle(0.0) is None
        with server:
            server.recv(1 << 16)
            server.sendall(OK)
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    assert poll.poll(5000), "both are there before either is looked at"
    assert connection.handle(1.0) is exchange
    assert exchange.end is ExchangeEnd.ANSWERED
    assert not connection.is_open


def test_a_body_is_sent_after_a_second_without_100_continue() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"100-continue" in head
        await reader.readexactly(len(LARGE.body))
        writer.write(OK)
        await reader.read(1)

    with serving(deaf) as port:
        result = offer(LoadPlan(port, 10, 0.1, poisson=False), [LARGE])
    assert result.statuses == {"200": 1}
    assert result.continue_timeouts == 1
    assert result.latencies[0] >= 1000


def test_one_request_follows_the_other_on_one_connection() -> None:
    with serving(late_or_busy) as port:
        found = latencies(port, [SMALL, LARGE], seconds=0.3, expect=True)
        with KeepAliveClient(port) as client, pytest.raises(RuntimeError, match="429"):
            assert client.post(BUSY, expect=True).retry_after == 3
            latencies(port, [BUSY], seconds=0.1, expect=True)
    assert 1 <= len(found) <= 7
    assert min(found) >= DELAY * 1000


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_an_answer_may_come_in_any_pieces(cut: int) -> None:
    reader = ResponseParser()
    lines = b"HTTP/1.1 100 Continue||HTTP/1.1 429 Busy|Connection: close|retry-AFTER: 7|content-length: 3||bye"
    wire = lines.replace(b"|", b"\r\n")
    assert reader.feed(wire[:cut]) is None
    assert reader.feed(wire[cut:]) == HttpResponse(429, b"bye", closes=True, retry_after=7)
    assert reader.may_continue


@pytest.mark.parametrize("wire", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_a_contender_without_a_probability_is_rejected(wire: bytes) -> None:
    with pytest.raises(ValueError, match="the response"):
        ResponseParser().feed(wire)


def test_a_figure_is_held_against_its_aim() -> None:
    assert ReportRow(1, AIMS[1].value).is_met
    assert not ReportRow(1, AIMS[1].value - 0.01).is_met
    assert ReportRow(7, -0.2).is_met
    assert not ReportRow(7, AIMS[7].value + 0.01).is_met
    assert not ReportRow(9, 0.95, fault="429 without Retry-After: 1").is_met
    assert not ReportRow(2, None, notes=["not measured: no such peer"]).is_met
    assert AIMS[2].reach(5.0) == 2.0
    assert AIMS[10].reach(200.0) == AIMS[10].reach(100.0) == 2.0


def test_a_measure_is_the_median_of_its_rounds() -> None:
    lines = ReportRow(
        2, 3.0, [RoundValues("Lensgate", "images/s", [50.0, 90.0, 80.0])], ["one note"], "a fault"
    ).lines()
    assert lines[0].endswith("NO")
    assert "80 images/s   [50 90 80]" in lines[1]
    assert [line.strip() for line in lines[2:]] == ["a fault", "one note"]


def test_refusals_that_came_late_are_a_fault() -> None:
    assert not LoadResult(statuses={"200": 5, "429": 4}, early={"429": 4}).fault
    said = LoadResult(statuses={"200": 5, "429": 4, "503": 1}, early={"429": 3}, failures={"lost": 2}).fault
    assert "{'503': 1}" in said
    assert "{'lost': 2}" in said
    assert "after the body was sent: 1" in said


def test_the_output_of_wrk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "wrk"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def read(output: str, complaint: str = "") -> wrk.Load:
        program.write_text(f"#!/bin/sh\nprintf '%s' '{output}'\nprintf '%s' '{complaint}' >&2\n")
        program.chmod(0o755)
        return wrk.drive(1, [SMALL], seconds=1)

    line = (
        'RESULT {"requests": 300, "microseconds": 3000000, "refused": 0, "lost": 0, "median_us": 1500, "p99_us": 9000}'
    )
    assert read(f"Running\n{line}\n") == wrk.Load(300, 3.0, 1.5, 9.0)
    assert read(line).rate == 100
    with pytest.raises(RuntimeError, match="2 were refused"):
        read(line.replace('"refused": 0', '"refused": 2'))
    with pytest.raises(RuntimeError, match="unable to connect"):
        read("", "unable to connect")


def test_wrk_sends_the_given_requests() -> None:
    with serving(late_or_busy) as port:
        load = wrk.drive(port, [SMALL], seconds=1, connections=4)
    assert 1 <= load.requests <= 4 * (load.seconds / DELAY + 1)
    assert load.median >= DELAY * 1000


def test_the_bare_endpoint_gives_valid_answers() -> None:
    post = pixels_post(np.zeros((3, 8, 8, 3), np.uint8), binary_answer=False)
    single = pixels_post(np.zeros((1, 8, 8, 3), np.uint8), binary_answer=False)
    with bare_endpoint(8, single).running(b"") as server:
        answer = contenders.exchange(server.port, post)
        outputs = read_tensors(answer.body, answer.header_length)
    assert {name: len(values) for name, values in outputs.items()} == dict.fromkeys(
        ("glasses_probability", "novelty", "decision", "reason"), 3
    )
    assert outputs["decision"] == [b"accept"] * 3


def test_binary_tensors_are_written_and_read() -> None:
    post = encoded_post(b"png")
    length = int(post.headers["Inference-Header-Content-Length"])
    assert post.body[length:] == struct.pack("<I", 3) + b"png"
    assert b'"binary_data_size": 7' in post.body[:length]
    header = (
        b'{"outputs": [{"name": "p", "datatype": "FP32", "parameters": {"binary_data_size": 8}},'
        b'{"name": "d", "datatype": "BYTES", "parameters": {"binary_data_size": 11}}]}'
    )
    tensors = struct.pack("<2f", 0.5, 0.25) + struct.pack("<I2sI1s", 2, b"ok", 1, b"x")
    assert read_tensors(header + tensors, len(header)) == {"p": [0.5, 0.25], "d": [b"ok", b"x"]}


@pytest.mark.parametrize("name", contenders.PEERS)
def test_a_peer_has_a_server_and_pinned_versions(name: str) -> None:
    server = PEERS / f"{name}_server.py"
    compile(server.read_text(), server.name, "exec")
    pins = (PEERS / f"{name}.txt").read_text()
    assert "://" not in pins
    assert all(re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==[\w.+]+", line) for line in pins.splitlines())
    needed = {"onnxruntime", "numpy", "pillow"}
    if name in contenders.WITH_GATE_DECODER:
        needed |= {"deflate", "simplejpeg", "pydantic"}
    assert needed <= {line.partition("==")[0] for line in pins.splitlines()}


def test_only_the_usual_decoder_is_set_for_a_peer_that_cannot_take_ours(tmp_path: Path) -> None:
    (tmp_path / "opencv").mkdir()
    (tmp_path / "opencv/pins.sha256").write_text(hashlib.sha256((PEERS / "opencv.txt").read_bytes()).hexdigest())
    usual = contenders.peer("opencv", decoder="usual", model=Path("m"), folder=tmp_path)
    assert usual.environment["PEER_DECODER"] == "opencv"
    assert set(contenders.PEERS) - set(contenders.WITH_GATE_DECODER) == {"opencv"}


def test_the_benchmark_names_all_that_is_missing_before_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"missing: wrk, the Python package matplotlib; .*make .*bench-tools"):
        command.main(["--rows", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="libnothing"):
        needs.require(libraries=["nothing"])
    needs.require(libraries=["c"], packages=["numpy"])


def test_a_peer_that_cannot_be_installed_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str, _folder: Path) -> Path:
        raise InstallError(f"no {name} today")

    monkeypatch.setattr(command, "python_of", fail)
    for rows in ([1, 5], [2]):
        command.install_peers(Bench([], None, tmp_path, tmp_path, ["mosec"]), rows)  # type: ignore[arg-type]
    assert capsys.readouterr().err == "mosec will not be measured: no mosec today\n"


def test_a_pinned_environment_is_not_installed_again(tmp_path: Path) -> None:
    home = tmp_path / "mosec"
    home.mkdir()
    (home / "pins.sha256").write_text(hashlib.sha256((PEERS / "mosec.txt").read_bytes()).hexdigest())
    assert python_of("mosec", tmp_path) == home / "bin/python"


def test_a_server_is_ended_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    child = tmp_path / "child"
    with running(
        lambda _: [sys.executable, "-c", code],
        lambda _: child.is_file() and bool(child.read_text()),
        environment=os.environ,
        folder=tmp_path,
    ) as server:
        assert server.peak_memory() > 1
    for pid in (server.pid, int(child.read_text())):
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match=r"status 3: no model here"),
        running(
            lambda _: [sys.executable, "-c", "import sys; print('no model here'); sys.exit(3)"],
            lambda _: False,
            environment=os.environ,
            folder=tmp_path,
        ),
    ):
        pass


def test_the_table_is_printed_written_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = str(ROOT / "samples")
    options = ["--rows", "7", "--seconds", "0.2", "--rounds", "1", "--images", samples, "--out", str(tmp_path)]
    assert command.main(options) == 0
    printed = capsys.readouterr().out
    assert f"{os.cpu_count()} cores" in printed
    assert "onnxruntime" in printed
    assert AIMS[7].what in printed
    with (tmp_path / "serving.csv").open(newline="") as lines:
        figure, bare, served = csv.DictReader(lines)
    assert float(figure["value"]) == pytest.approx(float(served["value"]) - float(bare["value"]), rel=1e-3)
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_that_cannot_be_measured_gives_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bench: Bench) -> ReportRow:
        raise StartError(f"no server for {len(bench.pictures)} pictures")

    monkeypatch.setattr(command, "added", fail)
    monkeypatch.setattr(command, "single", lambda _: ReportRow(6, 1.0))
    options = ["--rows", "6,7", "--images", str(ROOT / "samples"), "--out", str(tmp_path)]
    assert command.main(options) == 0
    assert "not measured: StartError('no server for" in capsys.readouterr().out
    with (tmp_path / "serving.csv").open(newline="") as lines:
        assert {row["row"]: row["value"] for row in csv.DictReader(lines)} == {"6": "1", "7": ""}


def test_a_row_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rows", "1,12"])
    assert "there is no row 12" in capsys.readouterr().err


def test_an_image_is_posted_unchanged() -> None:
    assert image_post("/", b"\xff\xd8\xff").headers == {"Content-Type": "image/jpeg"}
    head = image_post("/a", b"\x89PNG").head(expect=True)
    assert head.startswith(b"POST /a HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 4\r\n" in head
    assert head.endswith(b"\r\nExpect: 100-continue\r\n\r\n")
