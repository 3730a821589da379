"""A project of docker-compose on the tests' own engine."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.containers.engine import Engine, Ran, program, run, wait_for

__all__ = ["Compose", "running_project"]

PROJECT = "lensgate-tests"
FILE = "docker-compose.yml"
GATE = "http://127.0.0.1:8000"


class Compose:
    """Run `docker-compose` in a checkout, and inspect its services."""

    def __init__(self, engine: Engine, checkout: Path, *files: str | Path) -> None:
        self.engine = engine
        self.checkout = checkout
        self.password = secrets.token_hex(24)
        self._words = [word for file in (FILE, *files) for word in ("-f", str(file))]

    def __call__(self, *words: str) -> None:
        """Run a command of docker-compose, which must succeed."""
        environment = {**self.engine.environment, "LENSGATE_POSTGRES_PASSWORD": self.password}
        command = (program("docker-compose"), "-p", PROJECT, *self._words, *words)
        ran = run(*command, cwd=self.checkout, env=environment)
        if ran.returncode != 0:
            pytest.fail(f"docker-compose {' '.join(words)}\n{ran.stdout}", pytrace=False)

    def up(self, *services: str) -> None:
        """Start services from the images that are there, and wait until the gate is ready."""
        self("up", "--detach", "--no-build", *services)
        try:
            wait_for(lambda: self.get(f"{GATE}/readyz") is not None, "the gate is ready")
        except pytest.fail.Exception as failure:
            pytest.fail("\n".join([str(failure), *self.logs("gate")[-20:]]), pytrace=False)

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        labels = (f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}")
        filters = (word for label in labels for word in ("--filter", f"label={label}"))
        (found,) = self.engine.output("ps", "--all", "--quiet", "--no-trunc", *filters).split()
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        return self.engine.inspect(self.container(service))

    def state(self, service: str) -> dict[str, Any]:
        state: dict[str, Any] = self.inspect(service)["State"]
        return state

    def execute(self, service: str, *command: str) -> Ran:
        """Run a command in a service's container, as its own user."""
        return self.engine.docker("exec", self.container(service), *command)

    def logs(self, service: str) -> list[str]:
        """Return every line that a service has written, on either stream."""
        return self.engine.docker("logs", self.container(service)).stdout.splitlines()

    def get(self, url: str) -> Any:
        """GET a JSON document from a published port."""
        ran = self.engine.in_network(program("curl"), "--silent", "--fail", "--max-time", "10", url)
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def post(self, image: Path) -> tuple[int, str]:
        """POST an image to the gate; return status and body, status 0 without an answer."""
        send = ("--data-binary", f"@{image}", "--header", "Expect:", "--max-time", "60")
        url = f"{GATE}/v1/decisions?expected=glasses"
        ran = self.engine.in_network(program("curl"), "--silent", "--write-out", "\n%{http_code}", *send, url)
        body, _, status = ran.stdout.rpartition("\n")
        return int(status), body

    def post_at_once(self, image: Path, count: int) -> list[tuple[int, str]]:
        """POST an image that many times over, all of them at the same moment."""
        with ThreadPoolExecutor(count) as callers:
            return list(callers.map(self.post, [image] * count))


@contextmanager
def running_project(engine: Engine, checkout: Path, *files: str | Path) -> Iterator[Compose]:
    """Yield a stopped project; remove its containers, networks and volumes at the end."""
    compose = Compose(engine, checkout, *files)
    try:
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "10")
