"""Requests as the gate takes them: `/v1` for image files, the Open Inference Protocol V2 for pixels."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lensgate_client.models import Label

_ANSWER_BYTES = 64 * 2**10
"""Most of an answer about one file: the gate's are below 1 kB."""

_CARD_BYTES = 512 * 2**10
"""Most of the answer that holds a model's card: those of the first models are below 42 kB."""

_ROW_BYTES = 256
"""Most that an answer grows by for each image of a tensor."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, without what a connection adds; more than `most_bytes` is no answer to it."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    most_bytes: int = _ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


def model_request(_seconds: float) -> Request:
    """Asks which model is served."""
    return Request("GET", "/v1/model", most_bytes=_CARD_BYTES)


def file_request(data: bytes, seconds: float, *, name: str, expected: Label | None) -> Request:
    """Asks about one image file, to be answered within `seconds`."""
    params = {"id": name, "timeout_ms": str(max(1, math.floor(seconds * 1e3)))}
    if expected is not None:
        params["expected"] = expected
    return Request("POST", "/v1/decisions", params, {"Content-Type": "application/octet-stream"}, data)


def pixels_request(
    model: str, pixels: NDArray[np.uint8], seconds: float, *, name: str, expected: Sequence[Label | None]
) -> Request:
    """Asks about N images, uint8 `[N, S, S, 3]`, to be answered within `seconds`; the answer is JSON."""
    data = pixels.tobytes()
    image = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(pixels.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    inputs = [image]
    if any(expected):
        labels = [label or "" for label in expected]
        inputs.append({"name": "expected", "datatype": "BYTES", "shape": [len(labels)], "data": labels})
    parameters = {"timeout": max(1, math.floor(seconds * 1e6))}
    head = json.dumps({"id": name, "inputs": inputs, "parameters": parameters}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    most = _ANSWER_BYTES + _ROW_BYTES * len(pixels)
    return Request("POST", f"/v2/models/{model}/infer", headers=headers, content=head + data, most_bytes=most)
