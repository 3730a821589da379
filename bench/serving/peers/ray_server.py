"""Ray Serve: one replica per core behind HAProxy, with the settings Ray has for throughput; no dashboard.

HAProxy, which comes with ray[serve], costs 40 % less processor time an image than Ray's own proxy. With it the
replicas listen on every address of the machine; Ray offers no other way. Up to 16 requests in a replica, where its
default is 5, cost a tenth less; one replica with threads was no faster than two.
"""

import asyncio
import signal
import sys

import ray
from ray import serve
from starlette.requests import Request

from bench.serving.peers.model import CORES, PORT, Classifier, setting


class Glasses:
    """Raw bytes in, JSON out."""

    def __init__(self) -> None:
        self._classify = Classifier()

    async def __call__(self, request: Request) -> dict[str, float]:
        """One image, the whole body; the replica's event loop accepts others concurrently."""
        body = await request.body()
        return {"glasses_probability": await asyncio.to_thread(self._classify, body)}


if __name__ == "__main__":
    ray.init(num_cpus=setting("WORKERS", CORES), include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": PORT})
    deployment = serve.deployment(
        Glasses,
        num_replicas=setting("WORKERS", CORES),
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=setting("ONGOING", 16),
    )
    serve.run(deployment.bind(), route_prefix="/classify")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()
