"""Print the OpenAPI document of the service: `python -m tests.support.openapi`."""

import sys

import httpx

from tests.support.servers import running_service


def main() -> None:
    """Write the document to standard output."""
    with running_service() as running:
        sys.stdout.write(httpx.get(f"{running.url}/openapi.json", trust_env=False).raise_for_status().text)


if __name__ == "__main__":
    main()
