"""A server that speaks so much of Google Cloud Storage as gcsfs says to it: list, look, read, write and delete."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_GENERATIONS = count(1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, int]] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # Head and body go out as one.
    server: _Server

    def do_GET(self) -> None:
        path, query = self._asked()
        if path == "":
            self._answer(self._listing(query.get("prefix", ""), query.get("delimiter", "")))
        elif path not in self.server.objects:
            self._answer({"error": {"code": 404, "message": "no such object"}}, 404)
        elif query.get("alt") == "media":
            self._send(*self._range(self.server.objects[path][0]))
        else:
            self._answer(self._described(path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, described, data, _ = body.split(b"--==0==")
        name = json.loads(described.partition(b"\n\n")[2])["name"]
        self.server.objects[name] = (data.partition(b"\n\n")[2].removesuffix(b"\n"), next(_GENERATIONS))
        self._answer(self._described(name))

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        self._answer({}, 204 if self.server.objects.pop(path, None) else 404)

    def log_message(self, *_: object) -> None:
        """Silence the log."""

    def _asked(self) -> tuple[str, dict[str, str]]:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        return unquote(address.path.partition("/o")[2].lstrip("/")), query

    def _listing(self, prefix: str, delimiter: str) -> dict[str, Any]:
        names = [name for name in sorted(self.server.objects) if name.startswith(prefix)]
        below = [name for name in names if delimiter and delimiter in name[len(prefix) :]]
        folders = {prefix + name[len(prefix) :].partition(delimiter)[0] + delimiter for name in below}
        return {
            "items": [self._described(name) for name in names if name not in below],
            "prefixes": sorted(folders),
        }

    def _described(self, name: str) -> dict[str, Any]:
        data, generation = self.server.objects[name]
        return {"name": name, "bucket": "bucket", "size": str(len(data)), "generation": str(generation), "kind": "x"}

    def _range(self, data: bytes) -> tuple[bytes, int]:
        wanted = self.headers.get("Range")
        if wanted is None:
            return data, 200
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        return data[int(first) : int(last) + 1 if last else None], 206

    def _answer(self, fields: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(fields).encode(), status)

    def _send(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[str]:
    """Its URL."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
