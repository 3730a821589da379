"""`python -m service.health_check`: the HEALTHCHECK of the image. It succeeds if `/readyz` answers 200.

It imports none of the packages that take long, and reads the variables as the settings do.
"""

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from common.environment import read_variable

_ANY_ADDRESS = ("", "0", "0.0.0.0", "::")  # noqa: S104 - Compared with, not listened on.
_SECONDS = 4


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Request `/readyz`; return 0, or 1 with the reason on standard error."""
    url = ready_url(environment)
    # The service is on this machine: without a proxy, and its certificate may name another one.
    context = ssl._create_unverified_context()  # noqa: S323
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        opener.open(url, timeout=_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    return 0


def ready_url(environment: Mapping[str, str]) -> str:
    """Return the address of `/readyz`: on the metrics port, which never uses TLS, or else on the service's port."""
    host, port, metrics_port, certificate = (
        read_variable(environment, f"LENSGATE_{name}") for name in ("HOST", "PORT", "METRICS_PORT", "TLS_CERTIFICATE")
    )
    host = "127.0.0.1" if host in _ANY_ADDRESS else host
    scheme = "https" if certificate and not metrics_port else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{metrics_port or port or 8000}/readyz"


if __name__ == "__main__":
    sys.exit(main())
