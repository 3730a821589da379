"""The image's HEALTHCHECK, run against real services in every place that /readyz may be at."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.serving.processes import free_port
from service.health_check import main, ready_url
from service.process.parent import ParentOptions, WorkerOptions, python_command
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


def is_healthy(*, folder: Path = ROOT, **variables: object) -> bool:
    """Return the output of the check, with an unreachable proxy set, as it may be for all containers of a host."""
    proxy = f"http://127.0.0.1:{free_port()}"
    settings = {f"LENSGATE_{name.upper()}": str(value) for name, value in variables.items()}
    environment = {"http_proxy": proxy, "https_proxy": proxy, **settings}
    words = [sys.executable, *command()[1:]]
    ran = subprocess.run(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL, check=False)
    return ran.returncode == 0


def test_the_check_loads_none_of_the_packages() -> None:
    """It runs every ten seconds."""
    code = "import service.health_check, sys; print({'pydantic', 'numpy', 'uvicorn'} & set(sys.modules) or 'none')"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "none\n"


def test_it_asks_the_port_of_the_service(service: Running) -> None:
    port = port_of(service.url)
    assert is_healthy(port=port)
    assert not is_healthy(port=free_port())


def test_it_imports_nothing_from_the_working_directory(service: Running, tmp_path: Path) -> None:
    (tmp_path / "common.py").touch()
    assert is_healthy(folder=tmp_path, port=port_of(service.url))


@pytest.mark.parametrize("written", ["{}\r", " {}\n", '"{}"'], ids=["CR", "blanks", "quotes"])
def test_it_reads_variables_as_the_service_does(service: Running, written: str) -> None:
    port = port_of(service.url)
    assert is_healthy(port=written.format(port))
    assert is_healthy(port=free_port(), metrics_port=written.format(port), host='"0.0.0.0"')


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:8000/readyz"),
        ({"PORT": "", "METRICS_PORT": ""}, "http://127.0.0.1:8000/readyz"),
        ({"HOST": "::", "PORT": "9000"}, "http://127.0.0.1:9000/readyz"),
        ({"HOST": "::1"}, "http://[::1]:8000/readyz"),
        ({"HOST": "172.17.0.2", "TLS_CERTIFICATE": "c.pem"}, "https://172.17.0.2:8000/readyz"),
    ],
    ids=["defaults", "empty variables", "all addresses", "one of IPv6", "one of IPv4"],
)
def test_it_asks_the_address_that_the_service_listens_on(variables: dict[str, str], url: str) -> None:
    assert ready_url({f"LENSGATE_{name}": value for name, value in variables.items()}) == url


@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("lensgate serve --port 9000 --workers 1", "http://127.0.0.1:9000/readyz"),
        ("init -- lensgate serve --port 1 --port=9000 --host=::1", "http://[::1]:9000/readyz"),
        ("python lensgate serve --metrics-port 9100 --tls-certificate c.pem", "http://127.0.0.1:9100/readyz"),
        ("lensgate serve --tls-certificate c.pem --tls-key k.pem", "https://127.0.0.1:7000/readyz"),
        ("init --port 9000", "http://127.0.0.1:7000/readyz"),
        ("", "http://127.0.0.1:7000/readyz"),
    ],
    ids=["flag", "init process", "metrics port", "TLS", "another program", "no program"],
)
def test_a_flag_of_the_first_process_overrides_its_variable(command: str, url: str) -> None:
    assert ready_url({"LENSGATE_PORT": "7000"}, command.split()) == url


def test_the_parent_of_several_workers_is_asked_where_its_flags_say() -> None:
    worker = WorkerOptions(flags={"port": "9000"}, count=2, port=9000, metrics_port=None, grpc_port=None, rates=3)
    options = ParentOptions(worker=worker, reload_seconds=1.0, log_level="info")
    command = python_command("service.process.parent", options.encode())
    assert ready_url({"LENSGATE_PORT": "7000"}, command) == "http://127.0.0.1:9000/readyz"


def test_it_reads_the_command_line_of_a_process(service: Running, tmp_path: Path) -> None:
    line = tmp_path / "cmdline"
    line.write_bytes("\0".join(["lensgate", "serve", "--port", port_of(service.url), ""]).encode())
    assert main({"LENSGATE_PORT": str(free_port())}, line) == 0


def test_it_reads_the_variables_if_the_first_process_is_hidden(service: Running, tmp_path: Path) -> None:
    assert main({"LENSGATE_PORT": port_of(service.url)}, tmp_path / "hidden") == 0


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
