"""mosec: a Rust front before Python worker processes, one more than cores; one image per batch.

A worker waits while the front hands it the next image. Two, three and four workers on two cores differed by less than
the noise of the machine.
"""

import sys

from mosec import Server, Worker

from bench.serving.peers.model import CORES, PORT, Classifier, setting


class Inference(Worker):
    """Raw bytes in, JSON out."""

    def __init__(self) -> None:
        super().__init__()
        self._classify = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        """The body is the image."""
        return data

    def forward(self, data: bytes) -> dict[str, float]:
        """One image."""
        return {"glasses_probability": self._classify(data)}


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", str(PORT), "--timeout", "30000", "--log-level", "warning"]
    server = Server()
    server.append_worker(Inference, num=setting("WORKERS", CORES + 1))
    server.run()
