"""`make run`: serve, POST the sample faces, print the decisions, and go on serving.

python -m service.demo samples
"""

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from common.terminal import say
from common.thread_limit import explained_thread_limit
from gate.errors import GateError
from service.paths import DECISIONS
from service.process.signals import guard_start
from service.server import Server, make_server, serve
from service.settings import Settings


def main(folder: Path, environment: Mapping[str, str] = os.environ) -> int:
    """Run the service with the settings of the environment until Ctrl-C; return 1 if it cannot start."""
    try:
        with explained_thread_limit():
            guard_start()
            settings = Settings.load({}, {"LENSGATE_LOG_LEVEL": "warning", **environment})
            server = make_server(settings)
    except (GateError, OSError) as error:
        say(f"lensgate: {error}", error=True)
        return 1
    # With tokens or TLS this caller lacks the credentials.
    is_plain = settings.tokens is None and settings.tls_certificate is None
    faces = sorted(folder.glob("*.png")) if is_plain else []
    threading.Thread(target=_show, args=(server, faces), daemon=True).start()
    serve(server)
    return 0


def _show(server: Server, faces: list[Path]) -> None:
    while not server.started:
        time.sleep(0.01)
    if faces:
        _decide(server.url, faces)
    say(f"\nserving on {server.url}/ for people; /docs, /metrics, /v1/model. Ctrl-C ends it.")
    if faces:
        say(f"  curl --data-binary @{faces[0]} {server.url}/v1/decisions")


def _decide(url: str, faces: list[Path]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    say(f"{'sample':28} {'probability':>11}  {'label':10}  {'decision':8}  reason")
    for face in faces:
        connection.request("POST", f"{DECISIONS}?id={quote(face.name)}", face.read_bytes())
        say(_row(face.name, json.load(connection.getresponse())))
    connection.close()


def _row(name: str, answer: dict[str, Any]) -> str:
    if "code" in answer:
        return f"{name:28} {answer['code']}: {answer['detail']}"
    return (
        f"{name:28} {answer['glasses_probability']:11.4f}  {answer['label']:10}  "
        f"{answer['decision']:8}  {answer['reason']}"
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
