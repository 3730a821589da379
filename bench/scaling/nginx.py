"""nginx before the replicas: the configuration in docs/operation/scaling.md, and a process that runs it."""

import http.client
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.needs import SYSTEM_PATH
from bench.serving.processes import Running, StartError, running

METHODS = {"round robin": "", "least connections": "least_conn;"}
"""Directive of each balancing method; the default of nginx is round robin."""

_TEMPLATE = Path(__file__).with_name("nginx.conf")
_SHELL = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    {paths}
    include {folder}/lensgate.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program() -> str | None:
    """Return the path of nginx, or None. Debian installs it outside the PATH of ordinary users."""
    return shutil.which("nginx", path=SYSTEM_PATH)


def check_installed() -> None:
    """Raise StartError if nginx is not installed."""
    if program() is None:
        raise StartError("nginx is not installed: make bench-tools installs it")


def configuration(listen: str, servers: Sequence[str], *, method: str = "least connections") -> str:
    """Return the configuration inside `http` for replicas at `servers`, each `HOST:PORT`."""
    lines = "\n    ".join(f"server {server} max_fails=3 fail_timeout=2s;" for server in servers)
    text = _TEMPLATE.read_text(encoding="utf-8").replace("LISTEN", listen).replace("SERVERS", lines)
    return text.replace("    METHOD\n", f"    {METHODS[method]}\n" if METHODS[method] else "")


def example() -> str:
    """Return the same for a document, with names instead of addresses."""
    return f"```nginx\n{configuration('80', ['lensgate-1:8000', 'lensgate-2:8000']).rstrip()}\n```"


@contextmanager
def proxying(ports: Sequence[int], *, method: str = "least connections") -> Iterator[Running]:
    """Run an nginx with one worker in front of these ports of 127.0.0.1 during the block.

    Raises:
        StartError: nginx is not installed, or it reaches no replica.
    """
    check_installed()
    servers = [f"127.0.0.1:{port}" for port in ports]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # As root, nginx runs its worker as an unprivileged user.

        def command(port: int) -> Sequence[str]:
            (folder / "lensgate.conf").write_text(configuration(f"127.0.0.1:{port}", servers, method=method))
            return _command(folder)

        with running(command, _answers, environment=os.environ, folder=folder) as server:
            yield server


def _command(folder: Path) -> Sequence[str]:
    paths = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)
    (folder / "nginx.conf").write_text(_SHELL.format(folder=folder, paths=paths))
    return [str(program()), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
