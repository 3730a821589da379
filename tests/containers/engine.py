"""A Docker engine of the tests' own: its daemon, its client, and docker-compose."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["BRIDGED", "HOST_NETWORK", "Engine", "Ran", "program", "run", "running_engine", "wait_for"]

Ran = subprocess.CompletedProcess[str]

# Of two clients on a machine, only Debian's is known to build with BuildKit without a plug-in.
_FIRST = "/usr/bin"

HOST_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
"""Flags of a daemon that leaves the machine's network unchanged: builds use the host network."""

BRIDGED = ()
"""Flags of a daemon with bridges, firewall rules and published ports, in a network namespace of its own."""


def program(name: str) -> str:
    """Return the path of an installed program. A missing one is a failure, never a skip."""
    found = shutil.which(name, path=f"{_FIRST}:{os.environ['PATH']}")
    if found is None:
        pytest.fail(f"{name} is not installed: `make test-containers` installs it", pytrace=False)
    return found


def run(*command: str, timeout: float = 300, **options: Any) -> Ran:
    """Run a command and capture its output, standard error included."""
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    done: Ran = subprocess.run(command, timeout=timeout, check=False, **merged)
    return done


def wait_for(true: Callable[[], object], what: str, *, timeout: float = 600) -> None:
    """Return as soon as `true` is; fail the test if that takes too long."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout:.0f} s: {what}", pytrace=False)
        time.sleep(0.2)


class Engine:
    """The client of one daemon; `pid` is the daemon's, `seconds` the build time of each image."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self.environment = environment
        self.pid = pid
        self.seconds: dict[str, float] = {}

    def docker(self, *words: str, timeout: float = 300, **options: Any) -> Ran:
        """Run `docker`, whatever its status."""
        environment = {**self.environment, **options.pop("env", {})}
        return run(program("docker"), *words, timeout=timeout, env=environment, **options)

    def output(self, *words: str, **options: Any) -> str:
        """Run `docker`, which must succeed, and return its output."""
        ran = self.docker(*words, stderr=subprocess.PIPE, **options)
        if ran.returncode != 0:
            pytest.fail(f"docker {' '.join(words)}\n{ran.stdout}\n{ran.stderr}", pytrace=False)
        return ran.stdout

    def build(self, tag: str, folder: Path, *words: str) -> str:
        """Build an image and return BuildKit's log."""
        plain = ("--network=host", "--progress=plain", f"--tag={tag}")
        begun = time.monotonic()
        ran = self.docker("build", *plain, *words, str(folder), timeout=900)
        self.seconds[tag] = time.monotonic() - begun
        if ran.returncode != 0:
            pytest.fail(f"{tag} was not built\n{ran.stdout[-6000:]}", pytrace=False)
        return ran.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the engine's description of a container or image."""
        found: dict[str, Any] = json.loads(self.output("inspect", name))[0]
        return found

    def in_network(self, *command: str, **options: Any) -> Ran:
        """Run a command of this machine in the daemon's network, where ports are published."""
        options = {"stderr": subprocess.PIPE, **options}
        return run(program("nsenter"), f"--target={self.pid}", "--net", *command, **options)


@contextmanager
def running_engine(data: Path, flags: Sequence[str]) -> Iterator[Engine]:
    """Start a daemon on a data folder and stop it at the end; with no flags, in a network namespace of its own."""
    # The path of a socket has 107 characters at most, and a checkout may lie deep.
    with tempfile.TemporaryDirectory(prefix="lensgate-docker-") as name:
        folder = Path(name)
        address = f"unix://{folder}/socket"
        state = (f"--data-root={data}", f"--exec-root={folder}/run", f"--pidfile={folder}/pid", f"--host={address}")
        own = () if flags else ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        environment = {**os.environ, "DOCKER_HOST": address, "DOCKER_CONFIG": str(folder), "DOCKER_BUILDKIT": "1"}
        with (folder / "log").open("wb") as log:
            command = ("nice", "-n", "10", *own, program("dockerd"), *state, *flags)
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        engine = Engine(environment, daemon.pid)
        try:
            wait_for(lambda: _is_up(engine, daemon, folder / "log"), "the daemon answers")
            yield engine
        finally:
            daemon.terminate()
            daemon.wait(60)


def _is_up(engine: Engine, daemon: "subprocess.Popen[bytes]", log: Path) -> bool:
    if daemon.poll() is not None:
        pytest.fail(f"the daemon ended\n{log.read_text()[-3000:]}", pytrace=False)
    return engine.docker("version").returncode == 0
