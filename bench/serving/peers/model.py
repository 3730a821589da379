"""The model as every peer runs it: one ONNX Runtime session on one thread, after the chosen decoder.

`PEER_MODEL` names the graph, `PEER_DECODER` is `pillow`, `opencv` or `gate`, the peer listens on 127.0.0.1:`PORT`.
"""

import io
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A peer's environment lacks `gate`, whose adapter turns telemetry off elsewhere.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes, int], Pixels]

PORT = int(os.environ.get("PORT", "8000"))
CORES = len(os.sched_getaffinity(0))


def setting(name: str, default: int) -> int:
    """Return the setting `PEER_<name>`: `python -m bench.serving.tuning` varies these."""
    return int(os.environ.get(f"PEER_{name}", default))


class Classifier:
    """Image bytes -> the probability that the face wears glasses."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["PEER_MODEL"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._size = int(self._session.get_inputs()[0].shape[1])
        self._decode = _decoder(os.environ.get("PEER_DECODER", "pillow"))

    def __call__(self, data: bytes) -> float:
        """Decode, shrink and score one image."""
        pixels = self._decode(data, self._size)[np.newaxis]
        (probability,) = self._session.run(["glasses_probability"], {"image": pixels})
        return float(probability[0])


def _decoder(name: str) -> Decode:
    if name == "pillow":
        return _pillow_box
    if name == "opencv":
        return _opencv_area()
    from gate import read_pixels  # noqa: PLC0415 - Pillow's decoder needs no package of this project.

    return read_pixels


def _opencv_area() -> Decode:
    import cv2  # noqa: PLC0415 - Only the environment of one peer has it.

    cv2.setNumThreads(1)  # The server's threads already use every core.

    def decode(data: bytes, size: int) -> Pixels:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., ::-1])  # OpenCV decodes to BGR.

    return decode


def _pillow_box(data: bytes, size: int) -> Pixels:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
