"""Triton: its own server before Python instances of the model, one a core, as nvidia-pytriton starts them.

Batches of up to 4, its default: 8 were no faster, single images slower, and so were more instances, which do not
always start: they come all at once to the one socket that hands them their settings.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.serving.peers.model import CORES, PORT, Classifier, setting


def make_instance() -> Any:
    """One instance, with its own session. The images of a batch are bytes, `[N, 1]`."""
    classify = Classifier()

    @batch
    def infer(image: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
        return [np.array([[classify(data)] for (data,) in image], np.float32)]

    return infer


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="glasses",
            infer_func=[make_instance() for _ in range(setting("WORKERS", CORES))],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="glasses_probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=setting("BATCH", 4), batcher=DynamicBatcher()),
        )
        triton.run()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        signal.pause()
