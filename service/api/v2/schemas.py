"""Pydantic models of the protocol's JSON: they validate it, name the member at fault and document it in `/docs`.

An unknown name is an error: a misspelt `expected` would otherwise be ignored, and the image accepted unchecked.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from common.identity import ID_RULE, is_identity
from gate.validation import explain
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Internal,
    InvalidImage,
    MalformedRequest,
    NotFound,
    NotReady,
    Overloaded,
)
from service.http.json_body import KnownMembers
from service.http.openapi import BINARY, describe_operation
from service.ids import Source

MAX_DIMENSION = 2**31 - 1

_RESERVED = "triton_"
"""The protocol reserves parameters with this prefix for Triton; its clients add them on their own."""

_Model = TypeVar("_Model", bound=BaseModel)


def _check_id(text: str) -> str:
    if text and not is_identity(text):
        raise ValueError(f"must be {ID_RULE}")
    return text


def _check_stateless(value: object) -> object:
    if value:
        raise ValueError("sequences are not supported because the model is stateless; leave it out")
    return value


def _check_unclassified(value: object) -> object:
    if value:
        raise ValueError("class_count is not supported because the outputs are not scores per class; leave it out")
    return value


NonNegative = Annotated[int, Field(ge=0)]
Dimension = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
Stateless = Annotated[Any, AfterValidator(_check_stateless)]


class _Object(KnownMembers):
    """A JSON object without conversions of its values, such as of "8" into 8."""

    model_config = ConfigDict(strict=True)


class _Parameters(_Object):
    # Hints of MLServer's codecs, which KServe's runtimes pass on. They do not change bytes and numbers.
    content_type: Any = None
    headers: Any = None


class _SharedMemoryParameters(_Parameters):
    shared_memory_region: str | None = None
    shared_memory_byte_size: NonNegative | None = None
    shared_memory_offset: NonNegative | None = None

    @model_validator(mode="after")
    def _check_shared_memory(self) -> Self:
        if (self.shared_memory_region is None) != (self.shared_memory_byte_size is None):
            raise ValueError("shared_memory_region and shared_memory_byte_size must be given together")
        return self


_REQUEST_EXAMPLE: dict[str, Any] = {
    "id": "batch-7",
    "inputs": [
        {
            "name": "image",
            "datatype": "UINT8",
            "shape": [1, 128, 128, 3],
            "parameters": {"binary_data_size": 128 * 128 * 3},
        }
    ],
    "parameters": {"expected": "glasses"},
}
_RESPONSE_EXAMPLE: dict[str, Any] = {
    "model_name": "glasses",
    "model_version": "6",
    "id": "batch-7",
    "outputs": [
        {"name": "glasses_probability", "datatype": "FP32", "shape": [1], "data": [0.99999976]},
        {"name": "novelty", "datatype": "FP32", "shape": [1], "data": [-5.569148]},
        {"name": "decision", "datatype": "BYTES", "shape": [1], "data": ["accept"]},
        {"name": "reason", "datatype": "BYTES", "shape": [1], "data": ["confident"]},
    ],
}


class InputParameters(_SharedMemoryParameters):
    """Parameters of an input."""

    binary_data_size: NonNegative | None = Field(None, description="Bytes of this input behind the JSON")


class OutputParameters(_SharedMemoryParameters):
    """Parameters of a requested output."""

    binary_data: bool = Field(False, description="Send this output as binary data")
    classification: Annotated[Any, AfterValidator(_check_unclassified)] = None


class RequestParameters(_Parameters):
    """Parameters of a request."""

    expected: Literal["glasses", "no_glasses"] | None = Field(None, description="The requested label, for all images")
    source: Source | None = Field(None, description="The generator, checkpoint or run that made the images")
    timeout: NonNegative | None = Field(None, description="Microseconds; can only shorten the service's timeout")
    priority: NonNegative | None = Field(None, description="Accepted without effect: there is one level")
    binary_data_output: bool = Field(False, description="Send all outputs as binary data")
    sequence_id: Stateless = None
    sequence_start: Stateless = None
    sequence_end: Stateless = None


def _without_reserved(value: object) -> object:
    """Return parameters without those that are reserved for Triton; null, and other empty values, mean none."""
    if isinstance(value, dict) and any(name.startswith(_RESERVED) for name in value):
        return {name: each for name, each in value.items() if not name.startswith(_RESERVED)}
    return value or {}


_Reserved = BeforeValidator(_without_reserved)
# Shared by all requests without parameters: pydantic would copy a default each time, member by member.
_NO_INPUT_PARAMETERS = InputParameters()
_NO_OUTPUT_PARAMETERS = OutputParameters()
_NO_REQUEST_PARAMETERS = RequestParameters()


class InputTensor(_Object):
    """One input: its elements are in `data`, behind the JSON, or in shared memory."""

    name: str = Field(examples=["image", "encoded_image", "expected"])
    datatype: str = Field(examples=["UINT8", "BYTES"])
    shape: list[Dimension] = Field(min_length=1, max_length=8, description="[N, H, H, 3] of image, else [N]")
    parameters: Annotated[InputParameters, _Reserved] = Field(default_factory=lambda: _NO_INPUT_PARAMETERS)
    # Not validated element by element: a large image has millions, and `tensors` converts them at once.
    data: InstanceOf[list[Any]] | None = Field(
        None, description="Elements in row-major order; encoded_image is accepted as binary data only"
    )

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        parameters = self.parameters
        sources = (
            "data" in self.model_fields_set,
            parameters.binary_data_size is not None,
            parameters.shared_memory_region is not None,
        )
        if sum(sources) != 1:
            raise ValueError("exactly one of data, binary_data_size and shared_memory_region is needed")
        if sources[0] and self.data is None:
            raise ValueError("data must be a list")
        return self


class RequestedOutput(_Object):
    """One output as the caller wants it: as JSON, as binary data, or in shared memory."""

    name: str = Field(examples=["glasses_probability", "novelty", "decision", "reason"])
    shape: Any = None
    datatype: Any = None
    parameters: Annotated[OutputParameters, _Reserved] = Field(default_factory=lambda: _NO_OUTPUT_PARAMETERS)


class InferenceHead(_Object):
    """The JSON part of an inference request."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REQUEST_EXAMPLE]})

    id: Annotated[str, AfterValidator(_check_id)] | None = Field(None, description="Returned with the response")
    model_name: str | None = Field(None, description="The served model's, if given")
    model_version: str | None = Field(None, description="The served version, if given")
    inputs: list[InputTensor] = Field(max_length=3, description="image or encoded_image; expected is optional")
    outputs: Annotated[list[RequestedOutput], Field(max_length=4), BeforeValidator(lambda value: value or [])] = Field(
        [], description="All outputs if missing"
    )
    parameters: Annotated[RequestParameters, _Reserved] = Field(default_factory=lambda: _NO_REQUEST_PARAMETERS)


class OutputTensor(BaseModel):
    """One output of a response."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    data: list[float] | list[str] | None = Field(None, description="Missing from binary data and shared memory")
    parameters: dict[str, int | str] | None = Field(None, description="binary_data_size, or the shared memory range")


class InferenceResponse(BaseModel):
    """The JSON part of a response."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RESPONSE_EXAMPLE]})

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class RegionRegistration(_Object):
    """The range of a POSIX shared memory object that a region names."""

    key: str = Field(description="Name of the object, as given to shm_open")
    offset: NonNegative = 0
    byte_size: Annotated[int, Field(ge=1)]


class RepositoryQuery(_Object):
    """Which models the index lists."""

    ready: bool = Field(False, description="Only models that are ready")


INFER = describe_operation(
    "Judge N images by the Open Inference Protocol V2",
    parameters=[
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Bytes of JSON before the binary data",
            "schema": {"type": "integer"},
        },
    ],
    body={"application/json": InferenceHead, "application/octet-stream": BINARY},
    answer={"application/json": InferenceResponse, "application/octet-stream": BINARY},
    errors=(
        MalformedRequest,
        NotFound,
        BodyTooSlow,
        BodyTooLarge,
        InvalidImage,
        Overloaded,
        Internal,
        NotReady,
        DeadlineExceeded,
    ),
) | {"operationId": "infer"}
"""An inference request in `/docs`."""


def validate(kind: type[_Model], value: object) -> _Model:
    """Validate parsed JSON.

    Raises:
        MalformedRequest: the text names the first member at fault and the values that it may have.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise MalformedRequest(f"{_name_member(value, fault['loc'])}: {explain(fault)}") from error


def _name_member(value: Any, location: tuple[int | str, ...]) -> str:
    """Return the path of a member; an input and an output also by the name that its caller gave it."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    match location:
        case ("inputs" | "outputs" as kind, int(index), *_):
            item = value[kind][index]
            name = item.get("name") if isinstance(item, dict) else None
            return f"{path} ({name[:64]!r})" if isinstance(name, str) else path
        case _:
            return path or "the JSON object"
