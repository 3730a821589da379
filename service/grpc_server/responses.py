"""Write decisions and errors as the protocol's messages."""

from collections.abc import Sequence
from typing import Any

from service.api.v2.metadata import model_metadata, server_metadata
from service.api.v2.request import InferenceRequest, SharedMemoryRange
from service.api.v2.response import DATATYPES, VALUES, describe_shared, pack_output, pack_shared
from service.api.v2.served_model import ServedModel
from service.errors import ServiceError
from service.grpc_server.messages import (
    ModelInferResponse,
    ModelMetadataResponse,
    ModelStreamInferResponse,
    ServerMetadataResponse,
    encode,
)
from service.inference.request_context import ImageDecision
from service.settings import Settings

_EXTENSIONS = ("parameters",)
"""Those of the protocol's extensions that this port offers; the others are on the HTTP port."""


_FINAL = {"triton_final_response": True}
"""Clients of Triton's stream may read answers to a request until one has this parameter."""


def encode_decisions(
    request: InferenceRequest, answers: Sequence[ImageDecision], *, model: ServedModel
) -> tuple[Any, list[tuple[SharedMemoryRange, bytes]]]:
    """Return the response, and the data for shared memory. An output there has empty `raw_output_contents`.

    Raises:
        MalformedRequest: an output is larger than its shared memory range.
    """
    response = ModelInferResponse(model_name=model.name, model_version=model.version, id=request.identity or "")
    shared: list[tuple[SharedMemoryRange, bytes]] = []
    for wanted in request.outputs:
        values = [VALUES[wanted.name](answer) for answer in answers]
        output = response.outputs.add(name=wanted.name, datatype=DATATYPES[wanted.name], shape=[len(answers)])
        data = b""
        if wanted.shared:
            shared.append((wanted.shared, pack_shared(wanted.shared, wanted.name, values)))
            _set_parameters(output.parameters, describe_shared(wanted.shared, len(shared[-1][1])))
        else:
            data = pack_output(wanted.name, values)
        response.raw_output_contents.append(data)
    return response, shared


def encode_stream_response(response: Any) -> bytes:
    """Return one answer of a stream."""
    _set_parameters(response.parameters, _FINAL)
    return encode(ModelStreamInferResponse(infer_response=response))


def encode_stream_error(error: ServiceError, *, identity: str, request_id: str) -> bytes:
    """Return the answer of a stream to a request at fault: `error_message`, and the request's id with the code."""
    response = ModelInferResponse(id=identity)
    _set_parameters(response.parameters, {"code": error.code, "request_id": request_id, **_FINAL})
    return encode(ModelStreamInferResponse(error_message=f"{error.code}: {error.detail}", infer_response=response))


def encode_server_metadata(settings: Settings) -> bytes:
    """Return name, version and extensions of the server."""
    return encode(ServerMetadataResponse(**{**server_metadata(settings), "extensions": _EXTENSIONS}))


def encode_model_metadata(model: ServedModel) -> bytes:
    """Return inputs and outputs of the model."""
    return encode(ModelMetadataResponse(**model_metadata(model)))


def _set_parameters(parameters: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, bool):
            parameters[name].bool_param = value
        elif isinstance(value, int):
            parameters[name].int64_param = value
        else:
            parameters[name].string_param = value
