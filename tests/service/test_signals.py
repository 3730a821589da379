"""Signals under load: none loses a request, none but those that end a service ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.process.signals import ENDING, IGNORED, held_back
from tests.service.access.keys import bearer, write_tokens
from tests.support.callers import four_callers
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, running_process, wait_until

WHITE = encode(flat(255))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    write_model(tmp_path / "models", brightness_model())
    return {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}


@contextmanager
def load_on(process: Process, found: list[int]) -> Iterator[None]:
    """Four callers, each with a connection of its own, that ask until the block ends; `found` is given every status."""

    def ask(done: threading.Event) -> None:
        with httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as client:
            while not done.is_set():
                found.append(client.post("/v1/decisions", content=WHITE).status_code)

    with four_callers(ask, found):
        yield


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_reload_and_stack_signals_lose_no_request(
    sent: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    found: list[int] = []
    with running_process(tmp_path / "log", environment) as process:
        with load_on(process, found):
            for _ in range(20):
                process.process.send_signal(sent)
                time.sleep(0.02)
            asked = len(found)
            wait_until(lambda: len(found) > asked + 8)
        assert set(found) == {200}
        if sent is signal.SIGUSR1:
            assert "most recent call first" in process.log.read_text()
        process.process.terminate()
        assert process.process.wait(TIMEOUT) == 0


def test_quit_ends_it_as_term_does(environment: dict[str, str], tmp_path: Path) -> None:
    with running_process(tmp_path / "log", environment) as process:
        process.process.send_signal(signal.SIGQUIT)
        assert process.process.wait(TIMEOUT) == 0
    assert "Finished server process" in process.log.read_text()


def test_hup_reads_model_and_tokens_again_without_waiting_for_a_look(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"a": 'scopes = ["decide"]'})
    with (
        running_process(tmp_path / "log", environment, "--tokens", str(tokens), "--model-poll-seconds", "0") as process,
        httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as client,
    ):
        write_model(tmp_path / "models", brightness_model("2"))
        write_tokens(tokens, {"b": "scopes = []"})
        time.sleep(0.1)
        assert client.get("/v1/model", headers=bearer("a")).json()["version"] == "1"
        process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.get("/v1/model", headers=bearer("b")).json().get("version") == "2")
        assert client.get("/v1/model", headers=bearer("a")).status_code == 401


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_while_it_starts_does_not_end_it(sent: signal.Signals) -> None:
    code = (
        "import os, signal; from service.process.signals import guard_start; guard_start()\n"
        f"os.kill(os.getpid(), {int(sent)}); print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "goes on\n"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGQUIT])
def test_process_1_of_a_container_ends_by_a_signal_while_it_starts(sent: signal.Signals) -> None:
    code = (
        "import os, signal; own = os.getpid(); os.getpid = lambda: 1\n"
        "from service.process.signals import guard_start; guard_start()\n"
        f"os.kill(own, {int(sent)}); print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + sent, "")


@pytest.mark.parametrize(
    ("command", "module", "sent"),
    [
        ("serve", "service.settings", signal.SIGHUP),
        ("serve", "service.settings", signal.SIGUSR1),
        ("serve", "service.settings", signal.SIGUSR2),
        ("bulk", "bulk.cli", signal.SIGUSR1),
    ],
)
def test_a_signal_while_a_command_is_imported_does_not_end_it(command: str, module: str, sent: signal.Signals) -> None:
    code = (
        "import os, signal, sys\n"
        "class Importing:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == '{module}': os.kill(os.getpid(), {int(sent)}); print('goes on', flush=True)\n"
        "sys.meta_path.insert(0, Importing())\n"
        f"from lensgate.cli import main; main(['{command}', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("goes on\n")


def test_stacks_are_written_while_compiled_code_hangs() -> None:
    code = (
        "import ctypes, signal; from common.stacks import write_stacks_on; write_stacks_on(signal.SIGUSR1)\n"
        "import numpy  # Starts threads.\n"
        "print('hangs', flush=True); ctypes.CDLL(None).sleep(60); print('woke up', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal.SIGUSR1)
        assert any("most recent call first" in line for line in iter(process.stderr.readline, ""))
        process.kill()
        assert process.stdout.read() == ""


def stop(sent: signal.Signals) -> Callable[["subprocess.Popen[str]"], None]:
    def send(process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        process.send_signal(sent)

    return send


COMMAND = """
import signal, sys, time
import lensgate.cli as cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell that runs the tests in the background ignores it.
def wait(_):
    try:
        print("waits", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
def add_options(command):
    command.set_defaults(run=wait)
cli.COMMANDS["bulk"] = ("__main__", "")
sys.exit(cli.main(["bulk"]))
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_ends_cleanly(sent: signal.Signals, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", COMMAND], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        stop(sent)(process)
        assert process.stdout
        assert process.stdout.read() == "cleaned up\n"
        assert process.wait(TIMEOUT) == status


def test_closed_pipe_ends_a_command_silently() -> None:
    command = COMMAND.replace("time.sleep(60)", "sys.stdin.read(); print('x' * 100_000)")
    with subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        assert process.stdout.readline() == "waits\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT) == 128 + signal.SIGPIPE


def test_the_parent_of_workers_takes_over_with_signals_to_end_held_back() -> None:
    code = (
        "import os, signal; from service.process.signals import ENDING; from service.settings import Settings\n"
        "from service.workers import become_parent\n"
        "os.execve = lambda *_: print({*ENDING} <= signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "become_parent(Settings(port=0), {}, count=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, 0)])
def test_a_signal_before_a_program_handles_it_counts_once_it_does(sent: signal.Signals, status: int) -> None:
    code = (
        f"import os, signal; os.kill(os.getpid(), {int(sent)}); print('held', flush=True)\n"
        "from service.process.signals import guard_start; guard_start()"
    )
    with held_back([*ENDING, *IGNORED]):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("held\n", status)
