"""BentoML: one worker process per core, each with one thread for the model; no access log.

A third worker, two threads in each, or one worker with two threads made no difference beyond the noise. `bytes` as the
whole body is its quickest input: a `Path` would go through a file, and the body would be searched for a URL first.
"""

import bentoml

from bench.serving.peers.model import CORES, Classifier, setting


@bentoml.service(
    workers=setting("WORKERS", CORES),
    threads=setting("THREADS", 1),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
)
class Glasses:
    """Raw bytes in, JSON out."""

    def __init__(self) -> None:
        self._classify = Classifier()

    @bentoml.api
    def classify(self, data: bytes, /) -> dict[str, float]:
        """One image, the whole body."""
        return {"glasses_probability": self._classify(data)}
