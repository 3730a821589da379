"""Read a `ModelInferRequest` by the rules that hold over HTTP."""

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import DecodeError

from service.api.v2.request import (
    InferenceRequest,
    NoteNames,
    SharedMemoryRange,
    build_request,
    note_caller,
    too_many_images,
)
from service.api.v2.schemas import InferenceHead, validate
from service.api.v2.served_model import ServedModel
from service.api.v2.tensors import pack_bytes
from service.errors import MalformedRequest
from service.grpc_server.messages import ModelInferRequest
from service.grpc_server.wire import split_request

_MAX_DIMENSIONS = 9
"""More dimensions than any shape may have; the rest of a longer one is not looked at."""

_MAX_PARAMETERS = 64

# The field of InferTensorContents for each datatype that an input may have.
_CONTENTS = {"UINT8": "uint_contents", "BYTES": "bytes_contents"}


def parse_message(kind: Any, message: bytes) -> Any:
    """Parse a message.

    Raises:
        MalformedRequest: it is not one, or a string in it is not UTF-8.
    """
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise MalformedRequest(f"the message is not a valid {kind.DESCRIPTOR.name} with strings in UTF-8") from error


def read_infer_request(
    message: bytes,
    *,
    model: ServedModel,
    read_shared: Callable[[SharedMemoryRange], bytes],
    note_names: NoteNames,
) -> InferenceRequest:
    """Read a request; its pixels and files are views of `message`.

    Args:
        message: a `ModelInferRequest` as it was sent.
        model: that is served.
        read_shared: reads shared memory, or raises the reason why it cannot.
        note_names: receives the caller's names before anything else is validated.

    Raises:
        MalformedRequest, NotFound, BodyTooLarge: the text names the member at fault.
    """
    head, raw, parameters = split_request(message)
    request = parse_message(ModelInferRequest, head)
    members: dict[str, Any] = {
        "model_name": request.model_name,
        "model_version": request.model_version,
        "parameters": _read_parameters(request.parameters),
    }
    if request.id:
        members["id"] = request.id
    note_caller(members, note_names)
    if parameters != len(request.parameters):
        raise MalformedRequest("a parameter is repeated: send it once")
    members["inputs"], parts = _read_inputs(request.inputs, raw, model.max_images)
    members["outputs"] = [
        {"name": output.name, "parameters": _read_parameters(output.parameters)} for output in request.outputs
    ]
    return build_request(validate(InferenceHead, members), parts, model=model, read_shared=read_shared)


def _read_inputs(
    inputs: Iterable[Any], raw: list[memoryview], max_images: int
) -> tuple[list[dict[str, Any]], list[memoryview]]:
    """Return the inputs in the form of HTTP's JSON, and the data of those outside shared memory."""
    described: list[dict[str, Any]] = []
    parts: list[memoryview] = []
    waiting = list(raw)
    for tensor in inputs:
        parameters = _read_parameters(tensor.parameters)
        if "shared_memory_region" not in parameters:
            parts.append(_take_raw(tensor, waiting) if raw else _pack_contents(tensor, max_images))
            # KServe's client sends it over gRPC too, where the protocol does not need it.
            if parameters.setdefault("binary_data_size", len(parts[-1])) != len(parts[-1]):
                raise MalformedRequest(
                    f"the input {tensor.name[:64]!r} has {len(parts[-1]):,} bytes, but another "
                    "binary_data_size: leave that out, it belongs to the protocol over HTTP"
                )
        described.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape[:_MAX_DIMENSIONS]),
                "parameters": parameters,
            }
        )
    if waiting:
        raise MalformedRequest(f"{len(raw)} raw_input_contents are more than the inputs outside shared memory")
    return described, parts


def _take_raw(tensor: Any, waiting: list[memoryview]) -> memoryview:
    name = tensor.name[:64]
    if tensor.HasField("contents"):
        raise MalformedRequest(f"the input {name!r} has contents beside raw_input_contents: send one of them")
    if not waiting:
        raise MalformedRequest(f"the input {name!r} has no raw_input_contents: send one for each input")
    return waiting.pop(0)


def _pack_contents(tensor: Any, max_images: int) -> memoryview:
    """Return the binary form of an input's own `contents`."""
    field = _CONTENTS.get(tensor.datatype)
    if field is None or {used.name for used, _ in tensor.contents.ListFields()} - {field}:
        raise MalformedRequest(
            f"the input {tensor.name[:64]!r} must have the datatype UINT8 with uint_contents, or BYTES with "
            "bytes_contents: send raw_input_contents instead"
        )
    values = getattr(tensor.contents, field)
    if field == "uint_contents":
        return memoryview(_pack_integers(values))
    if len(values) > max_images:
        raise too_many_images(len(values), max_images)
    return memoryview(pack_bytes(values))


def _pack_integers(values: Any) -> bytes:
    try:
        return bytes(values)
    except ValueError as error:
        raise MalformedRequest("uint_contents of a UINT8 tensor must be from 0 to 255") from error


def _read_parameters(parameters: Any) -> dict[str, Any]:
    if len(parameters) > _MAX_PARAMETERS:
        raise MalformedRequest(f"{len(parameters):,} parameters of one tensor: {_MAX_PARAMETERS} are allowed")
    return {name: _read_parameter(parameters[name]) for name in parameters}


def _read_parameter(parameter: Any) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(parameter, chosen)
