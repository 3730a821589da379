import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from common.signals import Interrupted, handled, interruptible
from tests.conftest import ROOT
from tests.support.servers import TIMEOUT

NUMBER = signal.SIGUSR2

# Sends itself each signal of the arguments at once, and stays in the block in spite of the interruption.
HANGING = """
import os, signal, sys, time
from common import signals
from common.signals import Interrupted, interruptible
signals._REPEATED = float(os.environ.get("REPEATED", 0))
signal.signal(signal.SIGINT, signal.default_int_handler)
with interruptible((signal.SIGINT, signal.SIGTERM), grace=float(sys.argv[1])):
    for number in map(int, sys.argv[2:]):
        try:
            os.kill(os.getpid(), number)
        except Interrupted:
            print("interrupted", flush=True)
    time.sleep(600)
"""

# Its standard error is a full pipe without a reader.
BLOCKED = """
import sys, threading, time
threading.Thread(target=sys.stderr.write, args=["x" * 2**20], daemon=True).start()
time.sleep(0.5)
"""


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = signal.getsignal(NUMBER)
    yield
    signal.signal(NUMBER, before)


def run_hanging(grace: float, *numbers: signal.Signals, repeated: float = 0) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", HANGING, str(grace), *(str(int(number)) for number in numbers)]
    environment = os.environ | {"REPEATED": str(repeated)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_signal_raises_interrupted_with_its_status_and_the_handler_is_restored() -> None:
    before = signal.getsignal(NUMBER)
    with pytest.raises(Interrupted) as stopped, interruptible([NUMBER]):
        os.kill(os.getpid(), NUMBER)
    assert stopped.value.status == 128 + NUMBER
    assert signal.getsignal(NUMBER) is before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_of_any_kind_exits_at_once(second: signal.Signals) -> None:
    ran = run_hanging(600, signal.SIGINT, second)
    assert (ran.returncode, ran.stdout, ran.stderr) == (128 + second, "interrupted\n", "")


def test_signal_that_arrives_twice_at_once_counts_once() -> None:
    ran = run_hanging(0.1, signal.SIGTERM, signal.SIGINT, repeated=600)
    assert (ran.returncode, ran.stdout, ran.stderr) == (128 + signal.SIGTERM, "interrupted\n", "")


def test_hanging_block_exits_after_the_grace_period() -> None:
    ran = run_hanging(0.1, signal.SIGTERM)
    assert (ran.returncode, ran.stdout) == (128 + signal.SIGTERM, "interrupted\n")


def test_block_exits_after_the_grace_period_while_a_thread_writes_to_a_full_pipe() -> None:
    command = [sys.executable, "-c", BLOCKED + HANGING, "0.1", str(int(signal.SIGTERM))]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}  # Otherwise text is written without a buffer.
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.wait(TIMEOUT) == 128 + signal.SIGTERM
        finally:
            process.kill()


def test_ignored_signal_stays_ignored() -> None:
    signal.signal(NUMBER, signal.SIG_IGN)
    with interruptible([NUMBER]):
        os.kill(os.getpid(), NUMBER)
    assert signal.getsignal(NUMBER) is signal.SIG_IGN


def test_block_in_another_thread_sets_no_handler() -> None:
    found: list[object] = []
    before = signal.getsignal(NUMBER)

    def run() -> None:
        with handled({NUMBER: signal.SIG_IGN}), interruptible([NUMBER]):
            found.append(signal.getsignal(NUMBER))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(TIMEOUT)
    assert found == [before]
