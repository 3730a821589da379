"""Inference requests of the V2 protocol: the first two bytes give the length of the JSON; 0 means that all is JSON.

A recipe builds a request whose fields are known.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any

import orjson

from gate import Action, Decision, Label, Reason
from gate.scorer import Score
from service.api.v2.request import InferenceRequest, SharedMemoryRange, parse_request
from service.api.v2.response import encode_answer
from service.api.v2.served_model import ServedModel
from service.errors import MalformedRequest, ServiceError
from service.inference.request_context import ImageDecision
from tests.fuzz.recipes import recipe_in, recipes
from tests.fuzz.v2_recipes import EDGE, MAX_IMAGES, SHARED, Answer, build

MAX_BYTES = 4_096
WORDS = (
    *(b"inputs", b"outputs", b"name", b"datatype", b"shape", b"data", b"parameters", b"id", b"binary_data_size"),
    *(b"image", b"encoded_image", b"expected", b"UINT8", b"BYTES", b"glasses", b"no_glasses", b"timeout", b"priority"),
    *(b"binary_data", b"binary_data_output", b"classification", b"sequence_id", b"decision", b"novelty"),
    *(b"shared_memory_region", b"shared_memory_byte_size", b"shared_memory_offset", b"[1, 4, 4, 3]", b"1e999", b"null"),
)
MODEL = ServedModel(
    name="glasses",
    version="2",
    size=EDGE,
    outputs=("glasses_probability", "novelty", "decision", "reason"),
    max_images=MAX_IMAGES,
)
_ENGINE: Any = None
"""The bytes of an answer do not tell which encoder made it."""

_ANSWER = ImageDecision(Score(0.75, 0.5), Decision(Label.GLASSES, Action.ACCEPT, Reason.CONFIDENT), _ENGINE)


def read(body: bytes, header_length: int | None) -> InferenceRequest | None:
    """Return the request; None if it is refused. Adapts the target to `service.api.v2`."""
    try:
        return parse_request(bytearray(body), header_length, model=MODEL, read_shared=_read_shared)
    except ServiceError as error:
        assert len(str(error)) < 2_000, "the text repeats the input"
        return None


def _read_shared(part: SharedMemoryRange) -> bytes:
    if part.offset + part.size > len(SHARED):
        raise MalformedRequest("the region is smaller")
    return SHARED[part.offset : part.offset + part.size]


def check(data: bytes) -> None:
    """Raise AssertionError, or another exception, if the invariant is broken."""
    if draw := recipe_in(data):
        _check_recipe(*build(draw))
        return
    (length,) = struct.unpack("<H", data[:2].ljust(2, b"\0"))
    request = read(data[2:], length or None)
    if request is not None:
        _check(request)


def _check_recipe(body: bytes, length: int | None, known: Answer | None) -> None:
    request = read(body, length)
    found = None if request is None else _fields(request)
    assert found == known, f"{found} instead of {known}"
    if request is not None:
        _check(request)


def _fields(request: InferenceRequest) -> Answer:
    images = request.files if request.pixels is None else request.pixels
    outputs = [(output.name, output.binary) for output in request.outputs]
    return Answer(request.identity, request.timeout, [bytes(one) for one in images], request.expected, outputs)


def _check(request: InferenceRequest) -> None:
    assert 1 <= request.count <= MODEL.max_images, request.count
    assert (request.pixels is None) == (len(request.files) == request.count)
    if request.pixels is not None:
        count, height, width, channels = request.pixels.shape
        assert (count, channels) == (request.count, 3)
        assert height == width
        assert not height % MODEL.size
    assert request.timeout is None or request.timeout > 0
    _check_answer(request)


def _check_answer(request: InferenceRequest) -> None:
    try:
        answer = encode_answer(request, [_ANSWER] * request.count, model=MODEL)
    except ServiceError:
        return
    head = orjson.loads(answer.body[: answer.header_length])
    assert [output["name"] for output in head["outputs"]] == [wanted.name for wanted in request.outputs]
    assert head.get("id") == request.identity


def seeds() -> Iterator[bytes]:
    """Requests of both kinds of input, as JSON, as binary data and in shared memory, and faulty ones."""
    image: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3]}
    in_json = {"inputs": [{**image, "data": [7] * 48}], "id": "a", "parameters": {"expected": "glasses", "timeout": 5}}
    yield _seed(in_json)
    binary = {**image, "parameters": {"binary_data_size": 48}}
    expected = {"name": "expected", "datatype": "BYTES", "shape": [1], "data": ["no_glasses"]}
    outputs = [{"name": "decision", "parameters": {"binary_data": True}}, {"name": "novelty"}]
    yield _seed({"inputs": [binary, expected], "outputs": outputs}, bytes(48))
    file = struct.pack("<I", 3) + b"png"
    encoded = {
        "name": "encoded_image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(file)},
    }
    yield _seed({"inputs": [encoded], "parameters": {"binary_data_output": True}}, file)
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 48, "shared_memory_offset": 8}
    yield _seed({"inputs": [{**image, "parameters": shared}], "outputs": [{"name": "reason", "parameters": shared}]})
    nested = [[[[1, 2, 3]] * 4] * 4]
    yield _seed({"inputs": [{**image, "data": nested}], "priority": 0, "unknown": {"a": None}})
    faulty: list[Any] = [{}, [], {"inputs": [image] * 2}, {"inputs": [{"name": "x" * 300}]}]
    yield from map(_seed, faulty)
    yield b"\0\0" + b"[" * 2_000
    yield b""
    yield from recipes(200)


def _seed(head: object, binary: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<H", len(text) if binary else 0) + text + binary
