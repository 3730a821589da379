"""A small server that takes what Alertmanager sends."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Inbox", "running_webhook"]


@dataclass(frozen=True)
class Inbox:
    """Received messages in order, each with its path."""

    url: str
    messages: "queue.Queue[tuple[str, dict[str, Any]]]" = field(default_factory=queue.Queue)

    def wait_for(self, alert: str, path: str, *, timeout: float = 600) -> dict[str, Any]:
        """Return the first message of this alert to this path; fail where none comes within `timeout` s of the last.

        A page inhibits the ticket of the same alert, but the ticket is sent where Prometheus reports it first.
        """
        while True:
            received_path, message = self.messages.get(timeout=timeout)
            if received_path == path and message["groupLabels"]["alertname"] == alert:
                return message


@contextmanager
def running_webhook() -> Iterator[Inbox]:
    """Listen on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.messages.put((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Received messages are in the inbox."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox = Inbox(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield inbox
        finally:
            server.shutdown()
            thread.join()
