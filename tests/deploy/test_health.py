"""The image's HEALTHCHECK, run against real services in every place that /readyz may be at."""

import json
import re
import subprocess
import sys
from pathlib import Path

from bench.serving.processes import free_port
from tests.service.access.certificates import make_certificate
from tests.support.servers import Running, running_service

from .tools import ROOT


def command() -> list[str]:
    (found,) = re.findall(r"^HEALTHCHECK --.*\n +CMD (\[.*\])$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


def port_of(url: str | None) -> str:
    assert url
    return url.rpartition(":")[2]


def is_healthy(**variables: object) -> bool:
    """Return the output of the check, with an unreachable proxy set, as it may be for all containers of a host."""
    proxy = f"http://127.0.0.1:{free_port()}"
    settings = {f"LENSGATE_{name.upper()}": str(value) for name, value in variables.items()}
    environment = {"http_proxy": proxy, "https_proxy": proxy, **settings}
    ran = subprocess.run([sys.executable, *command()[1:]], env=environment, stderr=subprocess.DEVNULL, check=False)
    return ran.returncode == 0


def test_the_check_needs_no_program_but_python() -> None:
    assert command()[:2] == ["python", "-c"]
    assert len(command()) == 3


def test_it_asks_the_port_of_the_service(service: Running) -> None:
    port = port_of(service.url)
    assert is_healthy(port=port)
    assert not is_healthy(port=free_port())


def test_a_service_that_drains_is_not_healthy(service: Running) -> None:
    service.runtime.drain()
    assert not is_healthy(port=port_of(service.url))


def test_it_asks_the_metrics_port_where_there_is_one() -> None:
    with running_service(metrics_port=0) as running:
        metrics = port_of(running.server.metrics_url)
        assert is_healthy(port=free_port(), metrics_port=metrics)
        assert not is_healthy(port=port_of(running.url), metrics_port=free_port())


def test_it_speaks_tls_where_the_service_does(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    with running_service(tls_certificate=files.certificate, tls_key=files.key) as running:
        port = port_of(running.url)
        assert is_healthy(port=port, tls_certificate=files.certificate)
        assert not is_healthy(port=port)


def test_it_speaks_no_tls_to_the_metrics_port(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    with running_service(metrics_port=0, tls_certificate=files.certificate, tls_key=files.key) as running:
        metrics = port_of(running.server.metrics_url)
        assert is_healthy(port=port_of(running.url), metrics_port=metrics, tls_certificate=files.certificate)
