"""The parent of the workers as a process of its own, with workers of a few lines."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SECONDS = 60.0
"""Longest run, on a busy machine."""

PARENT = """
import sys
from service.process.json_logs import configure_logging
from service.process.supervisor import Supervisor

def command(number, link):
    return [sys.executable, "-S", "-c", WORKER, str(number), str(link)]

configure_logging("info")
sys.exit(Supervisor(COUNT, command, reload_seconds=60).run())
"""

WORKER = """
import os, signal, socket, struct, sys
number, link = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))

def receive(size):
    data = b""
    while len(data) < size:
        data += link.recv(size - len(data)) or sys.exit("the parent has ended")
    return data

def send(kind, payload=b""):
    link.sendall(struct.pack("!cI", kind, len(payload)) + payload)

earlier = receive(struct.unpack("!cI", receive(5))[1])
"""


def run(worker: str, *, count: int = 1) -> tuple[int, list[str]]:
    """Run a parent until it ends; return its status and the messages of its log."""
    code = f"WORKER, COUNT = {WORKER + worker!r}, {count}\n{PARENT}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, [json.loads(line)["message"] for line in done.stderr.splitlines()]


def test_a_successor_starts_with_more_counts_than_a_socket_holds() -> None:
    status, messages = run(
        """
send(b"R")
if not earlier:
    send(b"S", bytes(4 * 2**20))
    sys.exit(7)
assert len(earlier) == 4 * 2**20 - 4, len(earlier)
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
    )
    assert (status, messages[1:]) == (0, ["worker 1 ended by status 7; it starts again in 0.0 s"])


def test_a_worker_that_fails_while_the_first_one_serves_does_not_end_the_service(tmp_path: Path) -> None:
    status, messages = run(
        f"""
if number == 1 or os.path.exists({str(tmp_path / "again")!r}):
    send(b"R")
else:
    open({str(tmp_path / "again")!r}, "x")
    sys.exit(3)
if number == 2:
    os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
""",
        count=2,
    )
    assert (status, messages[1:]) == (0, ["worker 2 ended by status 3; it starts again in 0.0 s"])


def test_a_worker_that_a_real_time_signal_ended_is_started_again() -> None:
    status, messages = run(
        f"""
send(b"R")
if not earlier:
    send(b"S", bytes(8))
    os.kill(os.getpid(), {signal.SIGRTMIN + 6})
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
    )
    assert (status, messages[1:]) == (
        0,
        [f"worker 1 ended by signal {signal.SIGRTMIN + 6}; it starts again in 0.0 s"],
    )


def test_a_signal_that_arrives_twice_lets_the_workers_drain() -> None:
    status, _ = run("""
send(b"R")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
    os.kill(os.getppid(), number)
signal.sigwait([signal.SIGTERM])
""")
    assert status == 0


def test_a_first_worker_that_cannot_be_started_is_one_line() -> None:
    code = (
        "import sys; from service.process.json_logs import configure_logging; configure_logging('info')\n"
        "from service.process.supervisor import Supervisor\n"
        "sys.exit(Supervisor(2, lambda *_: ['/nowhere'], reload_seconds=60).run())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    (_, line) = done.stderr.splitlines()
    assert (done.returncode, "worker 1 could not be started: " in line) == (1, True)


def test_a_worker_that_is_killed_while_it_starts_again_is_started_once_more(tmp_path: Path) -> None:
    status, messages = run(
        f"""
starts = sorted(os.listdir({str(tmp_path)!r}))
open(os.path.join({str(tmp_path)!r}, str(len(starts))), "x")
if len(starts) != 1:
    send(b"R")
if len(starts) < 2:
    os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
    )
    assert (status, messages[1:]) == (
        0,
        [f"worker 1 ended by signal SIGKILL; it starts again in {wait} s" for wait in (0.0, 0.5)],
    )


def test_a_worker_that_ends_while_it_reloads_is_the_only_one_that_does(tmp_path: Path) -> None:
    status, messages = run(
        f"""
send(b"R")
if number == 2:
    os.kill(os.getppid(), signal.SIGHUP)
    receive(5)
    open({str(tmp_path / "reloads")!r}, "x")
elif not earlier:
    send(b"S", bytes(8))
    receive(5)
    sys.exit(9)
else:
    signal.sigtimedwait([], 1.0)
    os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
""",
        count=2,
    )
    assert (status, messages[1:]) == (
        0,
        [
            "reloading one worker after the other",
            "worker 1 ended by status 9; it starts again in 0.0 s",
            "worker 1 ended while it reloaded: the rest waits for the next HUP",
        ],
    )
    assert not (tmp_path / "reloads").exists()
