"""Encode the response to an inference request. Pure: no HTTP, no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.api.v2.request import InferenceRequest, SharedMemoryRange
from service.api.v2.served_model import ServedModel
from service.api.v2.tensors import pack_bytes, pack_floats
from service.errors import MalformedRequest
from service.inference.request_context import ImageDecision

DATATYPES = {"glasses_probability": "FP32", "novelty": "FP32", "decision": "BYTES", "reason": "BYTES"}

VALUES: dict[str, Callable[[ImageDecision], Any]] = {
    "glasses_probability": lambda answer: answer.score.probability,
    "novelty": lambda answer: answer.score.novelty,
    "decision": lambda answer: answer.decision.action,
    "reason": lambda answer: answer.decision.reason,
}
"""The value of each output for one image."""


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A body, the length of its JSON if binary data follows, and the data for shared memory."""

    body: bytes
    header_length: int | None
    shared: list[tuple[SharedMemoryRange, bytes]]


def encode_answer(
    request: InferenceRequest, answers: Sequence[ImageDecision], *, model: ServedModel
) -> EncodedResponse:
    """Encode the decisions in the form that the request asks for.

    Raises:
        MalformedRequest: an output is larger than its shared memory range.
    """
    binary: list[bytes] = []
    shared: list[tuple[SharedMemoryRange, bytes]] = []
    outputs = []
    for wanted in request.outputs:
        values = [VALUES[wanted.name](answer) for answer in answers]
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": DATATYPES[wanted.name],
            "shape": [len(answers)],
        }
        if wanted.shared:
            shared.append((wanted.shared, pack_shared(wanted.shared, wanted.name, values)))
            output["parameters"] = describe_shared(wanted.shared, len(shared[-1][1]))
        elif wanted.binary:
            binary.append(pack_output(wanted.name, values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.identity is not None:
        head["id"] = request.identity
    text = orjson.dumps(head)
    return EncodedResponse(b"".join((text, *binary)), len(text) if binary else None, shared)


def pack_output(name: str, values: Sequence[Any]) -> bytes:
    """Encode the values of an output as binary data."""
    if DATATYPES[name] == "FP32":
        return pack_floats(values)
    return pack_bytes(value.encode() for value in values)


def pack_shared(part: SharedMemoryRange, name: str, values: Sequence[Any]) -> bytes:
    """Encode the values of an output for shared memory.

    Raises:
        MalformedRequest: they are larger than the range.
    """
    packed = pack_output(name, values)
    if len(packed) > part.size:
        raise MalformedRequest(
            f"{name} has {len(packed):,} bytes, its range of region {part.region!r} only {part.size:,}"
        )
    return packed


def describe_shared(part: SharedMemoryRange, size: int) -> dict[str, Any]:
    """Return the parameters of an output in shared memory."""
    described: dict[str, Any] = {"shared_memory_region": part.region, "shared_memory_byte_size": size}
    if part.offset:
        described["shared_memory_offset"] = part.offset
    return described
