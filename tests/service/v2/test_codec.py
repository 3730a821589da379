"""Requests and answers of the protocol, without a server."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate import Action, Decision, Label, Reason
from gate.scorer import Score
from service.api.v2.request import MAX_JSON_BYTES, InferenceRequest, SharedMemoryRange, parse_request
from service.api.v2.response import encode_answer
from service.api.v2.served_model import ServedModel
from service.errors import BodyTooLarge, MalformedRequest, ServiceError
from service.inference.request_context import ImageDecision

MODEL = ServedModel(
    name="glasses", version="2", size=4, outputs=("glasses_probability", "novelty", "decision", "reason"), max_images=8
)
PLAIN = ServedModel(
    name="glasses", version="1", size=4, outputs=("glasses_probability", "decision", "reason"), max_images=8
)


def no_shared_memory(_: SharedMemoryRange) -> bytes:
    raise MalformedRequest("shared memory is off")


def parse(
    head: object,
    binary: bytes = b"",
    *,
    header_length: int | None = None,
    model: ServedModel = MODEL,
    read_shared: Callable[[SharedMemoryRange], bytes] = no_shared_memory,
) -> InferenceRequest:
    text = head if isinstance(head, bytes) else orjson.dumps(head)
    length = len(text) if header_length is None and binary else header_length
    return parse_request(bytearray(text + binary), length, model=model, read_shared=read_shared)


def image(count: int = 1, edge: int = 4, **changes: Any) -> dict[str, Any]:
    size = count * edge * edge * 3
    tensor: dict[str, Any] = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [count, edge, edge, 3],
        "parameters": {"binary_data_size": size},
    }
    tensor.update(changes)
    return {name: value for name, value in tensor.items() if value is not None}


def as_json(data: object, shape: list[int] | None = None) -> dict[str, Any]:
    return image(shape=shape or [1, 4, 4, 3], data=data, parameters=None)


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def texts(name: str, *elements: bytes) -> dict[str, Any]:
    size = len(packed(*elements))
    return {"name": name, "datatype": "BYTES", "shape": [len(elements)], "parameters": {"binary_data_size": size}}


PIXELS = bytes(range(96))


@pytest.mark.parametrize("edge", [64, 192])
def test_a_size_the_model_cannot_use_is_told_the_sizes_it_can(edge: int) -> None:
    larger = ServedModel(name="glasses", version="3", size=128, outputs=MODEL.outputs, max_images=8)
    with pytest.raises(MalformedRequest, match=r"multiple of the model's 128 \(128, 256, 384, ...\), not \[1, "):
        parse({"inputs": [image(1, edge)]}, bytes(edge * edge * 3), model=larger)
    assert parse({"inputs": [image(1, 256)]}, bytes(256 * 256 * 3), model=larger).count == 1


def test_binary_pixels_are_a_view_of_the_body() -> None:
    head = orjson.dumps({"inputs": [image(2)]})
    body = bytearray(head + PIXELS)
    asked = parse_request(body, len(head), model=MODEL, read_shared=no_shared_memory)
    assert asked.pixels is not None
    assert asked.pixels.shape == (2, 4, 4, 3)
    assert asked.pixels.tobytes() == PIXELS
    body[-1] = 255
    assert asked.pixels[-1, -1, -1, -1] == 255


@pytest.mark.parametrize("nested", [False, True])
def test_pixels_in_json_may_be_flat_or_nested(nested: bool) -> None:
    array = np.frombuffer(PIXELS, np.uint8).reshape(2, 4, 4, 3)
    data = (array if nested else array.ravel()).tolist()
    asked = parse({"inputs": [as_json(data, [2, 4, 4, 3])]})
    assert asked.pixels is not None
    assert asked.pixels.tolist() == array.tolist()


def test_files_and_expected_labels_are_split() -> None:
    files = (b"\x89PNG", b"", b"\xff\xd8")
    wishes = (b"glasses", b"glasses", b"no_glasses")
    head = {"inputs": [texts("expected", *wishes), texts("encoded_image", *files)]}
    asked = parse(head, packed(*wishes) + packed(*files))
    assert [bytes(file) for file in asked.files] == list(files)
    assert asked.expected == [Label.GLASSES, Label.GLASSES, Label.NO_GLASSES]


def test_parameter_expected_applies_to_all_images() -> None:
    asked = parse({"inputs": [image(2)], "parameters": {"expected": "glasses"}}, PIXELS)
    assert asked.expected == [Label.GLASSES] * 2


def test_expected_as_json_beside_binary_pixels_is_read() -> None:
    wishes = {"name": "expected", "datatype": "BYTES", "shape": [2], "data": ["glasses", "no_glasses"]}
    assert parse({"inputs": [wishes, image(2)]}, PIXELS).expected == [Label.GLASSES, Label.NO_GLASSES]


def test_parameters_are_read_and_what_other_clients_add_is_ignored() -> None:
    given = {"timeout": 1500, "priority": 3, "content_type": "np", "triton_x": True, "sequence_id": 0}
    asked = parse({"id": "a", "parameters": given, "inputs": [image(2)]}, PIXELS)
    assert (asked.identity, asked.timeout, asked.count) == ("a", 0.0015, 2)


def test_all_outputs_are_default_and_a_choice_keeps_its_order() -> None:
    assert [wanted.name for wanted in parse({"inputs": [image(2)]}, PIXELS).outputs] == list(MODEL.outputs)
    outputs = [{"name": "reason", "parameters": {"binary_data": False}}, {"name": "decision"}]
    head = {"inputs": [image(2)], "outputs": outputs, "parameters": {"binary_data_output": True}}
    found = parse(head, PIXELS).outputs
    assert [(wanted.name, wanted.binary) for wanted in found] == [("reason", False), ("decision", True)]


def test_shared_memory_is_read_where_a_tensor_says() -> None:
    tensor = image(
        2,
        parameters={"shared_memory_region": "r", "shared_memory_byte_size": 96, "shared_memory_offset": 7},
    )
    asked_for: list[SharedMemoryRange] = []

    def read(part: SharedMemoryRange) -> bytes:
        asked_for.append(part)
        return PIXELS

    asked = parse({"inputs": [tensor]}, read_shared=read)
    assert asked.pixels is not None
    assert asked_for == [SharedMemoryRange("r", 7, 96)]


def binary(**changes: Any) -> tuple[dict[str, Any], bytes]:
    return {"inputs": [image(2, **changes)]}, PIXELS


def with_parameters(**given: Any) -> tuple[dict[str, Any], bytes]:
    return {"inputs": [image(2)], "parameters": given}, PIXELS


def with_output(**given: Any) -> tuple[dict[str, Any], bytes]:
    return {"inputs": [image(2)], "outputs": [given]}, PIXELS


ONE_FILE = packed(b"abc")

FAULTS: dict[str, tuple[Any, bytes]] = {
    "no JSON": (b"{", b""),
    "nothing": (b"", b""),
    "not UTF-8": (b'{"id": "\xff"}', b""),
    "NaN": (b'{"inputs": [NaN]}', b""),
    "a list": ([], b""),
    "deep": (b"[" * 100_000, b""),
    "no inputs": ({}, b""),
    "inputs are no list": ({"inputs": {}}, b""),
    "an input is no object": ({"inputs": [1]}, b""),
    "an input without a name": ({"inputs": [{"datatype": "UINT8"}]}, b""),
    "unknown input": ({"inputs": [image(name="picture")]}, PIXELS[:48]),
    "no image": ({"inputs": [texts("expected", b"")]}, packed(b"")),
    "both images": ({"inputs": [image(1), texts("encoded_image", b"abc")]}, PIXELS[:48] + ONE_FILE),
    "twice the same": ({"inputs": [image(1), image(1)]}, PIXELS),
    "wrong datatype": binary(datatype="FP32"),
    "datatype is no string": binary(datatype=8),
    "no shape": binary(shape=None),
    "shape is text": binary(shape="2"),
    "N is 0": binary(shape=[0, 4, 4, 3]),
    "negative": binary(shape=[-2, 4, 4, 3]),
    "two negatives": binary(shape=[-2, 4, 4, -3]),
    "fractions": binary(shape=[2.0, 4, 4, 3]),
    "true is no number": binary(shape=[True, 4, 4, 3]),
    "overflow": binary(shape=[2**62, 4, 4, 3]),
    "overflow to the size": binary(shape=[2**31 - 1, 2**30, 2**30, 3]),
    "beyond 64 bits": (b'{"inputs": [{"name":"image","datatype":"UINT8","shape":[1%s,4,4,3]}]}' % (b"0" * 400), b""),
    "grey": binary(shape=[2, 4, 12, 1]),
    "not square": binary(shape=[2, 4, 8, 3]),
    "no multiple": binary(shape=[1, 6, 6, 3]),
    "three dimensions": binary(shape=[8, 4, 3]),
    "too many dimensions": binary(shape=[1] * 99),
    "planes first": binary(shape=[2, 3, 4, 4]),
    "a byte too few": ({"inputs": [image(2, parameters={"binary_data_size": 95})]}, PIXELS[:-1]),
    "a byte too many": ({"inputs": [image(2, parameters={"binary_data_size": 97})]}, PIXELS + b"x"),
    "more announced than sent": ({"inputs": [image(2)]}, PIXELS[:50]),
    "trailing bytes": ({"inputs": [image(2)]}, PIXELS + b"x"),
    "size is text": binary(parameters={"binary_data_size": "96"}),
    "size is negative": binary(parameters={"binary_data_size": -96}),
    "parameters of an input are no object": binary(parameters=[1]),
    "no data at all": binary(parameters=None),
    "data and binary data": binary(data=[1]),
    "data is a number": ({"inputs": [as_json(7)]}, b""),
    "data is too short": ({"inputs": [as_json([1] * 47)]}, b""),
    "data is too long": ({"inputs": [as_json([1] * 49)]}, b""),
    "data above 255": ({"inputs": [as_json([256] * 48)]}, b""),
    "data below 0": ({"inputs": [as_json([-1] * 48)]}, b""),
    "data is fractions": ({"inputs": [as_json([0.5] * 48)]}, b""),
    "data is truth": ({"inputs": [as_json([True] * 48)]}, b""),
    "data is text": ({"inputs": [as_json(["1"] * 48)]}, b""),
    "data is null": ({"inputs": [as_json([None] * 48)]}, b""),
    "ragged": ({"inputs": [as_json([[[[1] * 3] * 4] * 4, 1])]}, b""),
    "nested otherwise": ({"inputs": [as_json(np.zeros((1, 4, 12), int).tolist())]}, b""),
    "nested deeper": ({"inputs": [as_json(np.zeros((1, 4, 4, 3, 1), int).tolist())]}, b""),
    "a file in JSON": (
        {"inputs": [{"name": "encoded_image", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}]},
        b"",
    ),
    "a column of files": ({"inputs": [{**texts("encoded_image", b"abc"), "shape": [1, 1]}]}, ONE_FILE),
    "files are no UINT8": ({"inputs": [{**texts("encoded_image", b"abc"), "datatype": "UINT8"}]}, ONE_FILE),
    "fewer files": ({"inputs": [{**texts("encoded_image", b"abc"), "shape": [2]}]}, ONE_FILE),
    "more files": ({"inputs": [{**texts("encoded_image", b"a", b"b"), "shape": [1]}]}, packed(b"a", b"b")),
    "a file cut off": (
        {"inputs": [{**texts("encoded_image"), "shape": [1], "parameters": {"binary_data_size": 6}}]},
        ONE_FILE[:6],
    ),
    "a length cut off": (
        {"inputs": [{**texts("encoded_image"), "shape": [1], "parameters": {"binary_data_size": 3}}]},
        ONE_FILE[:3],
    ),
    "millions of files, it says": ({"inputs": [{**texts("encoded_image", b"abc"), "shape": [2**31 - 1]}]}, ONE_FILE),
    "an unknown wish": ({"inputs": [image(1), texts("expected", b"hat")]}, PIXELS[:48] + packed(b"hat")),
    "a wish too few": ({"inputs": [image(2), texts("expected", b"")]}, PIXELS + packed(b"")),
    "a wish that is a number": (
        {"inputs": [{"name": "expected", "datatype": "BYTES", "shape": [2], "data": [1, 2]}, image(2)]},
        PIXELS,
    ),
    "a wish that is no text": (
        b'{"inputs":[{"name":"expected","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
        b"",
    ),
    "a column of wishes": (
        {"inputs": [{"name": "expected", "datatype": "BYTES", "shape": [2, 1], "data": ["", ""]}, image(2)]},
        PIXELS,
    ),
    "two wishes": (
        {"inputs": [image(1), texts("expected", b"")], "parameters": {"expected": "glasses"}},
        PIXELS[:48] + packed(b""),
    ),
    "an unknown wish for all": with_parameters(expected="hat"),
    "a wish for all that is a list": with_parameters(expected=["glasses"]),
    "parameters are no object": ({"inputs": [image(2)], "parameters": 7}, PIXELS),
    "timeout is text": with_parameters(timeout="soon"),
    "timeout is negative": with_parameters(timeout=-1),
    "timeout is a fraction": with_parameters(timeout=0.5),
    "priority is text": with_parameters(priority="high"),
    "a sequence": with_parameters(sequence_id=7),
    "a named sequence": with_parameters(sequence_id="a", sequence_start=True),
    "binary_data_output is a number": with_parameters(binary_data_output=1),
    "id is a number": ({"id": 7, "inputs": [image(2)]}, PIXELS),
    "outputs are no list": ({"inputs": [image(2)], "outputs": {"a": 1}}, PIXELS),
    "an output is text": ({"inputs": [image(2)], "outputs": ["reason"]}, PIXELS),
    "an unknown output": with_output(name="label"),
    "the same output twice": ({"inputs": [image(2)], "outputs": [{"name": "reason"}] * 2}, PIXELS),
    "classification": with_output(name="reason", parameters={"classification": 2}),
    "binary_data is text": with_output(name="reason", parameters={"binary_data": "yes"}),
    "half of shared memory": with_output(name="reason", parameters={"shared_memory_region": "r"}),
    "the other half": with_output(name="reason", parameters={"shared_memory_byte_size": 7}),
    "shared memory that is off": binary(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 96}),
    "shared and binary": binary(
        parameters={"shared_memory_region": "r", "shared_memory_byte_size": 96, "binary_data_size": 96}
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_400_with_a_text(fault: str) -> None:
    head, rest = FAULTS[fault]
    with pytest.raises(MalformedRequest) as raised:
        parse(head, rest)
    assert 10 < len(raised.value.detail) < 300


@pytest.mark.parametrize("length", [10**11, 1, 0])
def test_a_header_length_that_does_not_fit_is_a_fault(length: int) -> None:
    with pytest.raises(MalformedRequest):
        parse({"inputs": [image(2)]}, PIXELS, header_length=length)


def test_novelty_is_an_output_of_models_that_have_it() -> None:
    head = {"inputs": [image(2)], "outputs": [{"name": "novelty"}]}
    assert parse(head, PIXELS).outputs[0].name == "novelty"
    with pytest.raises(MalformedRequest, match="glasses_probability, decision, reason"):
        parse(head, PIXELS, model=PLAIN)


def test_images_beyond_the_limit_are_body_too_large() -> None:
    with pytest.raises(BodyTooLarge, match="split"):
        parse({"inputs": [image(9)]}, bytes(9 * 48))
    with pytest.raises(BodyTooLarge, match="split"):
        parse({"inputs": [texts("encoded_image", *[b"a"] * 9)]}, packed(*[b"a"] * 9))


def test_json_that_is_too_large_is_not_even_parsed() -> None:
    with pytest.raises(BodyTooLarge, match="binary"):
        parse(b"{" * (MAX_JSON_BYTES + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(MAX_JSON_BYTES),
        b"--x\r\nContent-Disposition: form-data",
        b"\x1f\x8b\x08",
        b"\n[]",
    ],
)
def test_a_body_that_is_no_json_object_is_shown_with_the_place_for_it(body: bytes) -> None:
    with pytest.raises(MalformedRequest) as raised:
        parse(body)
    assert raised.value.detail.startswith(f"the body begins with {body.lstrip()[:8]!r}, not with a JSON object")
    assert "/v1/decisions/batch" in raised.value.detail


def test_a_byte_order_mark_before_the_json_is_named() -> None:
    with pytest.raises(MalformedRequest, match="byte order mark"):
        parse(b"\xef\xbb\xbf{}")


def answers(count: int = 2) -> list[ImageDecision]:
    runner: Any = None
    decision = Decision(Label.GLASSES, Action.DISCARD, Reason.UNFAMILIAR)
    return [ImageDecision(Score(0.25 * index, -1.5), decision, runner) for index in range(count)]


def test_an_answer_is_json_unless_it_is_asked_for_otherwise() -> None:
    asked = parse({"id": "a", "inputs": [image(2)]}, PIXELS)
    answer = encode_answer(asked, answers(), model=MODEL)
    assert answer.header_length is None
    assert orjson.loads(answer.body) == {
        "model_name": "glasses",
        "model_version": "2",
        "id": "a",
        "outputs": [
            {"name": "glasses_probability", "datatype": "FP32", "shape": [2], "data": [0.0, 0.25]},
            {"name": "novelty", "datatype": "FP32", "shape": [2], "data": [-1.5, -1.5]},
            {"name": "decision", "datatype": "BYTES", "shape": [2], "data": ["discard", "discard"]},
            {"name": "reason", "datatype": "BYTES", "shape": [2], "data": ["unfamiliar", "unfamiliar"]},
        ],
    }


def test_binary_outputs_follow_the_json_in_order() -> None:
    outputs = [
        {"name": "reason", "parameters": {"binary_data": True}},
        {"name": "decision"},
        {"name": "glasses_probability", "parameters": {"binary_data": True}},
    ]
    asked = parse({"inputs": [image(2)], "outputs": outputs}, PIXELS)
    answer = encode_answer(asked, answers(), model=MODEL)
    head = orjson.loads(answer.body[: answer.header_length])
    assert [output.get("parameters") for output in head["outputs"]] == [
        {"binary_data_size": 28},
        None,
        {"binary_data_size": 8},
    ]
    assert answer.body[answer.header_length :] == packed(b"unfamiliar", b"unfamiliar") + struct.pack("<2f", 0, 0.25)


def test_an_output_goes_to_shared_memory_if_it_fits() -> None:
    part = {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 4}
    asked = parse({"inputs": [image(2)], "outputs": [{"name": "novelty", "parameters": part}]}, PIXELS)
    answer = encode_answer(asked, answers(), model=MODEL)
    assert answer.shared == [(SharedMemoryRange("r", 4, 8), struct.pack("<2f", -1.5, -1.5))]
    assert orjson.loads(answer.body)["outputs"][0]["parameters"] == part
    with pytest.raises(MalformedRequest, match="12 bytes"):
        encode_answer(asked, answers(3), model=MODEL)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUE = JSON | st.sampled_from(["image", "encoded_image", "expected", "UINT8", "BYTES", [1, 4, 4, 3], [1], 48, 7])
PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "shared_memory_region", "shared_memory_byte_size", "timeout", "binary_data"]),
    VALUE,
    max_size=3,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": VALUE,
        "datatype": VALUE,
        "shape": VALUE,
        "data": VALUE | st.lists(st.integers(0, 255), min_size=48, max_size=48),
        "parameters": VALUE | PARAMETERS,
    },
)
HEAD = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUE,
        "inputs": VALUE | st.lists(TENSOR | VALUE, max_size=3),
        "outputs": VALUE | st.lists(TENSOR | VALUE, max_size=3),
        "parameters": VALUE | PARAMETERS,
    },
)


def dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # Integers beyond 64 bits and lone surrogates are written by others only.
        return json.dumps(value).encode()


@settings(max_examples=500, deadline=None)
@given(HEAD, st.binary(max_size=60), st.none() | st.integers(0, 400))
def test_any_json_is_a_request_or_malformed(head: object, rest: bytes, length: int | None) -> None:
    text = dumps(head)
    try:
        asked = parse(text, rest, header_length=length if length is not None else len(text))
    except ServiceError as error:
        assert error.status in (400, 413)
    else:
        assert 1 <= asked.count <= MODEL.max_images


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_request_with_one_byte_changed_is_a_request_or_a_fault(data: st.DataObject) -> None:
    head = {"inputs": [image(1), texts("expected", b"glasses")], "outputs": [{"name": "reason"}]}
    text = orjson.dumps(head)
    body = bytearray(text + PIXELS[:48] + packed(b"glasses"))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] = data.draw(st.integers(0, 255))
    try:
        parse_request(body, len(text), model=MODEL, read_shared=no_shared_memory)
    except ServiceError as error:
        assert error.status in (400, 413)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_any_elements_come_back_as_they_were(elements: list[bytes]) -> None:
    asked = parse({"inputs": [texts("encoded_image", *elements)]}, packed(*elements))
    assert [bytes(file) for file in asked.files] == elements


@pytest.mark.parametrize("is_shared", [False, True])
def test_millions_of_empty_files_are_refused_before_they_are_unpacked(is_shared: bool) -> None:
    empty = bytes(4 * 2**20)
    where = {"shared_memory_region": "r", "shared_memory_byte_size": len(empty)}
    parameters = where if is_shared else {"binary_data_size": len(empty)}
    tensor = {"name": "encoded_image", "datatype": "BYTES", "shape": [2**20], "parameters": parameters}
    head = orjson.dumps({"inputs": [tensor]})
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="1,048,576 images in one request: 8 are allowed"):
            parse(head, b"" if is_shared else empty, read_shared=lambda _: empty)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The body is copied; a list of its elements would take 200 MB.
    assert peak < 4 * len(empty)
