"""The compiled protocol is that of the committed .proto file, and that of Triton's client."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from service.errors import BodyTooLarge, MalformedRequest
from service.grpc_server import messages
from service.grpc_server.messages import ModelInferRequest
from service.grpc_server.wire import MAX_HEAD_BYTES, read_id, split_request

FOLDER = Path(messages.__file__).parent
MESSAGES = [name for name in vars(messages) if name.startswith(("Model", "Server"))]


def test_the_compiled_protocol_is_up_to_date(tmp_path: Path) -> None:
    compiled = tmp_path / messages.COMPILED
    arguments = [f"-I{FOLDER}", f"--descriptor_set_out={compiled}", "open_inference.proto"]
    # In a process of its own: beside TensorFlow's library of the same name the compiler crashes.
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    # `make proto` writes it.
    assert compiled.read_bytes() == (FOLDER / messages.COMPILED).read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_names_and_numbers_are_those_of_tritonclient(name: str) -> None:
    theirs = service_pb2.DESCRIPTOR.message_types_by_name[name]
    assert set(fields(getattr(messages, name).DESCRIPTOR)) == set(fields(theirs))


def fields(kind: Any) -> list[tuple[Any, ...]]:
    own = [(kind.full_name, each.name, each.number, each.type, each.is_repeated) for each in kind.fields]
    return own + [field for nested in kind.nested_types for field in fields(nested)]


@settings(max_examples=30, deadline=None)
@given(
    identity=st.text(max_size=20),
    raw=st.lists(st.binary(max_size=300), max_size=3),
    names=st.lists(st.text(max_size=5), max_size=3),
    parameters=st.dictionaries(st.text(max_size=5), st.integers(-5, 2**40), max_size=5),
)
def test_a_split_message_is_the_whole_one(
    identity: str, raw: list[bytes], names: list[str], parameters: dict[str, int]
) -> None:
    request = ModelInferRequest(id=identity, raw_input_contents=raw)
    for name in names:
        request.inputs.add(name=name, shape=[1, 2])
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    head, found, count = split_request(request.SerializeToString())
    assert [bytes(part) for part in found] == raw
    assert count == len(parameters)
    del request.raw_input_contents[:]
    assert ModelInferRequest.FromString(head) == request


@pytest.mark.parametrize(
    ("message", "identity"),
    [
        (ModelInferRequest(model_name="glasses", id="übung-7").SerializeToString(), "übung-7"),
        (ModelInferRequest(id="mine").SerializeToString() + b"\xff", "mine"),
        (ModelInferRequest(model_name="glasses", raw_input_contents=[b"\x1a\x04mine"]).SerializeToString(), ""),
        (ModelInferRequest(id="a\nb").SerializeToString(), ""),
        (ModelInferRequest(id="x" * 5000).SerializeToString(), ""),
        (b"\x1a\x02\xff\xff", ""),
        (b"\x1a\x7fx", ""),
        (b"", ""),
    ],
)
def test_the_id_of_a_message_is_read_whatever_else_is_wrong(message: bytes, identity: str) -> None:
    assert read_id(message) == identity


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(data: bytes) -> None:
    try:
        head, raw, _ = split_request(data)
    except MalformedRequest:
        return
    assert len(head) + sum(map(len, raw)) <= len(data)


@pytest.mark.parametrize("field", [4, 5, 6, 7, 99])
def test_a_flood_of_empty_fields_is_not_parsed(field: int) -> None:
    tag = varint(field << 3 | 2)
    with pytest.raises(MalformedRequest, match="more than"):
        split_request((tag + b"\x00") * 1000)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7])


def test_a_head_has_a_limit_of_its_own() -> None:
    request = ModelInferRequest(raw_input_contents=[bytes(MAX_HEAD_BYTES)])
    split_request(request.SerializeToString())
    request.inputs.add().contents.bytes_contents.append(bytes(MAX_HEAD_BYTES))
    with pytest.raises(BodyTooLarge, match="raw_input_contents"):
        split_request(request.SerializeToString())
