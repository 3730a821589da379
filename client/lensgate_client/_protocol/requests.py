"""Build the gate's HTTP requests: `/v1` for image files, the Open Inference Protocol V2 for pixels."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lensgate_client.models import Label

_MAX_RESPONSE_BYTES = 64 * 2**10
"""Size limit of a response about one file; the gate sends less than 1 kB."""

_MAX_CARD_BYTES = 512 * 2**10
"""Size limit of a model card; the first models have cards below 42 kB."""

_MAX_ROW_BYTES = 256
"""Additional limit for each image of a tensor."""


@dataclass(frozen=True, slots=True)
class GateRequest:
    """One HTTP request without connection headers; a response of more than `max_bytes` is rejected."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    max_bytes: int = _MAX_RESPONSE_BYTES


@dataclass(frozen=True, slots=True)
class GateResponse:
    """One HTTP response; the names of `headers` are in lower case.

    `way` names a proxy that may have answered, and `hint` what may be wrong with the URL.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    way: str = ""
    hint: str = ""


def model_request(_seconds: float) -> GateRequest:
    """Request the card of the served model."""
    return GateRequest("GET", "/v1/model", max_bytes=_MAX_CARD_BYTES)


def ready_request(_seconds: float) -> GateRequest:
    """Ask whether the gate takes requests; `/readyz` may be on a port of its own."""
    return GateRequest("GET", "/v2/health/ready")


def file_request(
    data: bytes, seconds: float, *, image_id: str, expected: Label | None, source: str | None
) -> GateRequest:
    """Request a decision about one image file within `seconds`."""
    params = {"id": image_id, "timeout_ms": str(max(1, math.floor(seconds * 1e3)))}
    if expected is not None:
        params["expected"] = expected
    if source is not None:
        params["source"] = source
    return GateRequest("POST", "/v1/decisions", params, {"Content-Type": "application/octet-stream"}, data)


def pixels_request(
    model: str,
    pixels: NDArray[np.uint8],
    seconds: float,
    *,
    batch_id: str,
    expected: Sequence[Label | None],
    source: str | None,
) -> GateRequest:
    """Request decisions about N images, uint8 `[N, S, S, 3]`, within `seconds`; the response is JSON."""
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
    parameters: dict[str, int | str] = {"timeout": max(1, math.floor(seconds * 1e6))}
    if source is not None:
        parameters["source"] = source
    head = json.dumps({"id": batch_id, "inputs": inputs, "parameters": parameters}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    max_bytes = _MAX_RESPONSE_BYTES + _MAX_ROW_BYTES * len(pixels)
    return GateRequest("POST", f"/v2/models/{model}/infer", headers=headers, content=head + data, max_bytes=max_bytes)
