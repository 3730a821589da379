"""`python -m service.health_check`: the HEALTHCHECK of the image. It succeeds if `/readyz` answers 200.

It imports none of the packages that take long, and reads flags and variables as the settings do: the flags of the
container's first process, `lensgate serve --port 9000`, over the variables.
"""

import argparse
import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from common.environment import read_variable

_ANY_ADDRESS = ("", "0", "0.0.0.0", "::")  # noqa: S104 - Compared with, not listened on.
_SECONDS = 4
_SETTINGS = ("host", "port", "metrics_port", "tls_certificate")
_PARENT = "service.process.parent"
_FIRST_PROCESS = Path("/proc/1/cmdline")


def main(environment: Mapping[str, str] = os.environ, command_line: Path = _FIRST_PROCESS) -> int:
    """Request `/readyz`; return 0, or 1 with the reason on standard error."""
    try:
        command = os.fsdecode(command_line.read_bytes()).split("\0")
    except OSError:  # Hidden by the mount option hidepid, or no such file system.
        command = []
    url = ready_url(environment, command)
    # The service is on this machine: without a proxy, and its certificate may name another one.
    context = ssl._create_unverified_context()  # noqa: S323
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        opener.open(url, timeout=_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    return 0


def ready_url(environment: Mapping[str, str], command: Sequence[str] = ()) -> str:
    """Return the address of `/readyz`: on the metrics port, which never uses TLS, or else on the service's port."""
    flags = read_flags(command)
    host, port, metrics_port, certificate = (
        flags.get(name) or read_variable(environment, f"LENSGATE_{name.upper()}") for name in _SETTINGS
    )
    host = "127.0.0.1" if host in _ANY_ADDRESS else host
    scheme = "https" if certificate and not metrics_port else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{metrics_port or port or 8000}/readyz"


def read_flags(command: Sequence[str]) -> Mapping[str, str | None]:
    """Return the flags of `lensgate serve`, which an init process may precede, or of the parent of several workers."""
    if _PARENT in command:
        flags: Mapping[str, str | None] = json.loads(command[command.index(_PARENT) + 1])["worker"]["flags"]
        return flags
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in _SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}")
    arguments = command[command.index("serve") :] if "serve" in command else ()
    return vars(parser.parse_known_args(arguments)[0])


if __name__ == "__main__":
    sys.exit(main())
