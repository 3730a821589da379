"""Print the OpenAPI document of the service: `python -m tests.support.openapi`, or `make openapi`."""

import json
import sys
from typing import Any

import httpx

from tests.support.servers import TIMEOUT, running_service


def as_text(document: dict[str, Any]) -> str:
    """Format the document so that its changes show line by line."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document to standard output."""
    with running_service() as running:
        document = httpx.get(f"{running.url}/openapi.json", timeout=TIMEOUT, trust_env=False).raise_for_status().json()
    sys.stdout.write(as_text(document))


if __name__ == "__main__":
    main()
