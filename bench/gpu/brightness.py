"""A gate that answers by brightness, for machines where the service is not installed."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

SIZE = 128
"""Input size of the model that it stands in for: the shipped one's, which is not installed there."""


class _BrightnessHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The model's card."""
        self._answer({"name": "glasses", "version": "1", "input": {"size": SIZE}})

    def do_POST(self) -> None:
        """Classify pixels."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        head = json.loads(body[:length])
        image = head["inputs"][0]
        size = image["parameters"]["binary_data_size"]
        pixels = np.frombuffer(body[length : length + size], np.uint8).reshape(image["shape"])
        probabilities = pixels.mean(axis=(1, 2, 3)) / 255
        certain = [not 0.4 <= value <= 0.6 for value in probabilities]
        outputs: dict[str, tuple[str, list[Any]]] = {
            "glasses_probability": ("FP32", probabilities.tolist()),
            "decision": ("BYTES", ["accept" if one else "discard" for one in certain]),
            "reason": ("BYTES", ["confident" if one else "uncertain" for one in certain]),
        }
        self._answer(
            {
                "id": head["id"],
                "model_name": "glasses",
                "model_version": "1",
                "outputs": [
                    {"name": name, "datatype": kind, "shape": [len(data)], "data": data}
                    for name, (kind, data) in outputs.items()
                ],
            }
        )

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Discard log lines."""


@contextmanager
def brightness_gate() -> Iterator[str]:
    """Serve during the block; yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _BrightnessHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
