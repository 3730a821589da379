"""A stalled reader of standard error blocks neither requests, nor native code, nor the exit of the process."""

import json
import os
import re
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest

from service.process.standard_streams import MAX_BYTES, Sink, open_sink
from tests.support.attacks import connected
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, read_metric, wait_until


def sink_on(descriptor: int) -> Sink:
    sink = Sink(descriptor, lambda lost: b"lost %d\n" % lost)
    sink.start()
    return sink


def test_what_is_put_comes_out_in_order() -> None:
    reading, writing = os.pipe()
    sink = sink_on(writing)
    for number in range(100):
        sink.put(b"%d\n" % number)
    sink.close()
    sink.put(b"last\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read().split() == [*(b"%d" % number for number in range(100)), b"last"]


def test_lines_that_come_together_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    writes: list[int] = []

    def accept(_: int, data: memoryview) -> int:
        writes.append(len(data))
        return len(data)

    monkeypatch.setattr("service.process.standard_streams.os", SimpleNamespace(write=accept))
    sink = Sink(writing, lambda lost: b"lost %d\n" % lost)
    for size in (100, 3000, 900, 200, select.PIPE_BUF + 1, 10):
        sink.put(b"x" * size)
    sink.start()
    sink.close()
    # Native code writes to the same pipe, which keeps writes whole up to this size.
    assert writes == [4000, 200, select.PIPE_BUF + 1, 10]
    assert not sink.dropped
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_of_lines_written_together_only_the_lost_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept_some(_: int, data: memoryview) -> int:
        if len(data) < 30:
            raise OSError("the device is full")
        return 12

    monkeypatch.setattr("service.process.standard_streams.os", SimpleNamespace(write=accept_some))
    sink = Sink(2, lambda lost: b"lost %d\n" % lost)
    for _ in range(5):
        sink.put(b"x" * 10)
    sink.start()
    sink.close()
    assert sink.dropped == 3  # 24 of 50 bytes left: two lines and a part.


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_reader_that_stops_costs_lines_and_is_told_how_many(is_blocking: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, is_blocking)
    sink = sink_on(writing)
    line = b"x" * 1023 + b"\n"
    count = 2 * MAX_BYTES // len(line)
    for _ in range(count):
        sink.put(line)
    assert 0 < sink.dropped < count
    found = bytearray()
    while sum(map(int, re.findall(rb"lost (\d+)\n", found))) < sink.dropped:
        assert select.select([reading], [], [], TIMEOUT)[0]
        found += os.read(reading, 2**20)
    assert found.count(line) >= 1
    sink.close()
    os.close(writing)
    os.close(reading)


def test_a_reader_that_is_gone_costs_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = sink_on(writing)
    sink.put(b"a\n")
    wait_until(lambda: sink.dropped == 1)
    sink.close()
    os.close(writing)


def test_the_end_does_not_wait_for_a_reader_that_has_stopped() -> None:
    reading, writing = os.pipe()
    sink = sink_on(writing)
    for _ in range(200):
        sink.put(b"x" * 1024)
    before = time.monotonic()
    sink.close(timeout=0.05)
    sink.put(b"late")
    assert time.monotonic() - before < TIMEOUT
    os.close(reading)
    os.close(writing)


# Every way to write to standard error and output: from Python, from C, and to the descriptor.
NOISE = """
    import ctypes, logging, os, sys
    from service.process.json_logs import configure_logging
    configure_logging("info")
    libc = ctypes.CDLL(None)
    for number in range(3000):
        logging.getLogger("noise").info("line %d %s", number, "x" * 100)
        print("printed", "x" * 100)
        print("printed", "x" * 100, file=sys.stderr)
        libc.dprintf(2, b"native %s\\n", b"x" * 100)
        libc.dprintf(1, b"native %s\\n", b"x" * 100)
    os.write({done}, b"done")
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_neither_python_nor_native_code_waits(kind: str) -> None:
    ours, theirs = os.openpty() if kind == "terminal" else os.pipe()
    if kind == "socket":
        import socket  # noqa: PLC0415

        pair = socket.socketpair()
        ours, theirs = pair[0].detach(), pair[1].detach()
    done, says_done = os.pipe()
    code = textwrap.dedent(NOISE.format(done=says_done))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, pass_fds=[says_done]
    ) as process:
        try:
            assert select.select([done], [], [], TIMEOUT)[0], "it waits for a reader"
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
            for descriptor in (ours, theirs, done, says_done):
                os.close(descriptor)


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_streams_that_are_closed_or_full_change_no_exit_status(closed: str, tmp_path: Path) -> None:
    code = (
        "import logging, os; from service.process.json_logs import configure_logging; configure_logging('info')\n"
        f"file = os.open({str(tmp_path / 'database')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "logging.error('a'); print('b'); assert file > 2"
    )
    command = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    assert subprocess.run(command, timeout=TIMEOUT, check=False).returncode == 0
    assert (tmp_path / "database").read_bytes() == b""


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    setup = "import logging; from service.process.json_logs import configure_logging; configure_logging('info')"
    code = f"{setup}; logging.error('b')"
    with log.open("wb") as file:
        file.write(b"a\n")
        file.flush()
        subprocess.run([sys.executable, "-c", code], stderr=file, check=True)
    first, second = log.read_text().splitlines()
    assert (first, json.loads(second)["message"]) == ("a", "b")


def test_file_that_is_truncated_by_a_rotation_holds_only_later_lines(tmp_path: Path) -> None:
    """As with `2>log` and logrotate's copytruncate: the offset of the open file is still behind the old lines."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        sink = open_sink(file.fileno(), lambda _: b"")
        sink.put(b"before\n")
        wait_until(lambda: log.read_bytes() == b"before\n")
        os.truncate(log, 0)
        sink.put(b"after\n")
        wait_until(lambda: log.stat().st_size)
        sink.close()
    assert log.read_bytes() == b"after\n"


LONG = "/" + "\N{EYEGLASSES}" * 300


@contextmanager
def stalled_service(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int, str]]:
    """A service whose standard error is read up to the line that says where it listens, and no further."""
    write_model(folder / "models", brightness_model())
    reading, writing = os.pipe()
    environment = {**os.environ, "LENSGATE_MODELS": str(folder / "models"), "LENSGATE_RECORDS_URL": "off"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lensgate", "serve", "--port", "0"], stderr=writing, env=environment
    )
    os.close(writing)
    try:
        log = b""
        while b"running on " not in log:
            assert select.select([reading], [], [], 60)[0]
            log += os.read(reading, 65536)
        yield process, reading, log.split(b"running on ")[1].split()[0].decode().strip('",')
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def ask_for_long_paths(url: str, *, times: int) -> None:
    """Send requests without waiting for the answer to each."""
    request = f"GET {quote(LONG)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with connected(url) as connection:
        for start in range(0, times, 50):
            connection.sendall(request * 50)
            answers = b""
            while answers.count(b"HTTP/1.1 404 ") < 50:
                answers += connection.recv(65536) or pytest.fail(f"the connection ended after {start} requests")


def test_a_service_goes_on_while_nobody_reads_its_log_says_so_and_ends(tmp_path: Path) -> None:
    with (
        stalled_service(tmp_path) as (process, reading, url),
        httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as client,
    ):
        assert read_metric(client, "lensgate_log_lines_dropped_total") == 0
        # 65,536 bytes fit the pipe, and 1 MiB waits: the line of such a path has more than 1 kB.
        ask_for_long_paths(url, times=2**20 // 1000 + 100)
        assert read_metric(client, "lensgate_log_lines_dropped_total") > 0
        found = b""
        while b"lines were dropped" not in found:
            assert select.select([reading], [], [], TIMEOUT)[0]
            found = found[-4096:] + os.read(reading, 65536)
        ask_for_long_paths(url, times=100)
        process.terminate()
        assert process.wait(TIMEOUT) == 0


def test_a_service_goes_on_when_the_reader_of_its_log_has_ended(tmp_path: Path) -> None:
    with stalled_service(tmp_path) as (process, reading, url):
        os.dup2(os.open(os.devnull, os.O_RDONLY), reading)
        for _ in range(20):
            assert httpx.get(f"{url}/livez", timeout=TIMEOUT, trust_env=False).status_code == 200
        process.terminate()
        assert process.wait(TIMEOUT) == 0
