"""LitServe: one inference process a core, one HTTP process; one image a batch.

A second HTTP process and the ZeroMQ queue (`fast_queue`) made no difference beyond the noise, a third inference
process was slower. A body that
is no JSON gets through by its annotation, which LitServe hands to FastAPI.
"""

from typing import Annotated

import litserve
from fastapi import Body

from bench.serving.peers.model import CORES, PORT, Classifier, setting


class GlassesAPI(litserve.LitAPI):
    """Raw bytes in, JSON out."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Called once in each worker."""
        self.classify = Classifier()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/png")]) -> bytes:
        """The body is the image."""
        return request

    def predict(self, x: bytes) -> float:
        """One image."""
        return self.classify(x)

    def encode_response(self, output: float) -> dict[str, float]:
        """JSON."""
        return {"glasses_probability": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        GlassesAPI(),
        accelerator="cpu",
        workers_per_device=setting("WORKERS", CORES),
        fast_queue=bool(setting("FAST_QUEUE", 0)),
    )
    server.run(
        host="127.0.0.1",
        port=PORT,
        num_api_servers=setting("APIS", 1),
        log_level="warning",
        generate_client_file=False,
    )
