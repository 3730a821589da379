"""Run a real Prometheus and a real Alertmanager for a test."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.serving.processes import free_port

from .tools import ROOT, tool

__all__ = ["Prometheus", "Sample", "project_config", "running_alertmanager", "running_prometheus"]


@dataclass(frozen=True)
class Sample:
    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Queries one server, now or at a fixed time. A rejected query is an AssertionError."""

    def __init__(self, client: httpx.Client, *, at: float | None = None) -> None:
        self._client = client
        self._at = at

    def as_of_now(self) -> "Prometheus":
        """Return a client for the same server with its time fixed at this moment."""
        return Prometheus(self._client, at=time.time())

    def query(self, expr: str) -> list[Sample]:
        found = self._ask("/api/v1/query", query=expr, time=self._at or time.time())
        return [Sample(series["metric"], float(series["value"][1])) for series in found]

    def query_range(self, expr: str, *, seconds: float = 60, step: float = 1) -> list[Sample]:
        """Return the series of the last `seconds`, each with its latest value."""
        now = self._at or time.time()
        found = self._ask("/api/v1/query_range", query=expr, start=now - seconds, end=now, step=step)
        return [Sample(series["metric"], float(series["values"][-1][1])) for series in found]

    def wait_for(
        self, expr: str, accept: Callable[[list[Sample]], bool] = bool, *, instant: bool = True, timeout: float = 300
    ) -> list[Sample]:
        """Query until the answer is accepted; the default accepts any series."""
        ask = self.query if instant else self.query_range
        deadline = time.monotonic() + timeout
        while not accept(samples := ask(expr)):
            assert time.monotonic() < deadline, f"after {timeout} s the answer is still {samples}\n{expr}"
            time.sleep(0.25)
        return samples

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        """Return the exemplars of the last minutes behind an expression."""
        now = self._at or time.time()
        series = self._ask("/api/v1/query_exemplars", query=expr, start=now - 300, end=now)
        return [exemplar for one in series for exemplar in one["exemplars"]]

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the pending and firing alerts of this name."""
        found: list[dict[str, Any]] = self._client.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return [alert for alert in found if alert["labels"]["alertname"] == name]

    def _ask(self, path: str, **parameters: str | float) -> list[dict[str, Any]]:
        answer = self._client.get(path, params=parameters)
        body: dict[str, Any] = answer.json()
        assert body["status"] == "success", f"{body.get('error')}\n{parameters['query']}"
        data = body["data"]
        result: list[dict[str, Any]] = data["result"] if isinstance(data, dict) else data
        return result


def project_config(address: str, *, alertmanager: str | None = None) -> dict[str, Any]:
    """Return the project's configuration with these addresses and intervals short enough for a test."""
    path = ROOT / "deploy/prometheus/prometheus.yml"
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(path.parent / pattern) for pattern in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [address]}]
    (manager,) = config["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": [alertmanager]}] if alertmanager else []
    return config


@contextmanager
def running_prometheus(config: Mapping[str, Any], directory: Path) -> Iterator[Prometheus]:
    """Run a server in `directory` until the block ends; yield it when it is ready."""
    file = _write(config, directory / "prometheus.yml")
    address = f"127.0.0.1:{free_port()}"
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["command"]
    command = [
        tool("prometheus"),
        *(argument for argument in composed if argument.startswith("--enable-feature=")),
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with _running(command, address, directory / "prometheus.log") as client:
        yield Prometheus(client)


@contextmanager
def running_alertmanager(config: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Run one in `directory` until the block ends; yield its `host:port` when it is ready."""
    file = _write(config, directory / "alertmanager.yml")
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus-alertmanager"),
        f"--config.file={file}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with _running(command, address, directory / "alertmanager.log"):
        yield address


def _write(config: Mapping[str, Any], file: Path) -> Path:
    file.write_text(yaml.safe_dump(dict(config)))
    return file


@contextmanager
def _running(command: list[str], address: str, log: Path) -> Iterator[httpx.Client]:
    """Run a server of the Prometheus family until the block ends; yield a client when it is ready."""
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
    try:
        # A proxy of the environment is none of a loopback server's business.
        with httpx.Client(base_url=f"http://{address}", timeout=60, trust_env=False) as client:
            _wait_until_ready(client, process, log)
            yield client
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while not _is_ready(client):
        assert process.poll() is None, f"{log.stem} left with {process.returncode}\n{log.read_text()}"
        assert time.monotonic() < deadline, f"{log.stem} is not ready\n{log.read_text()}"
        time.sleep(0.1)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False
