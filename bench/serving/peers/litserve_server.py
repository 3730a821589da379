"""LitServe: one inference process per core, one HTTP process; one image per batch.

A second HTTP process and the ZeroMQ queue (`fast_queue`) made no difference beyond the noise, a third inference
process was slower. The annotation, which LitServe passes to FastAPI, admits a body that is not JSON.
"""

from typing import Annotated

import litserve
from fastapi import Body

from bench.serving.peers.model import CORES, PORT, Classifier, setting


class GlassesAPI(litserve.LitAPI):
    """Raw bytes in, JSON out."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model, once in each worker."""
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
