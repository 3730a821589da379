"""What `/docs` shows of an inference request."""

from typing import Any

from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Internal,
    InvalidImage,
    MalformedRequest,
    NotFound,
    NotReady,
    Overloaded,
)
from service.http.openapi import describe_operation

_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"enum": ["image", "encoded_image", "expected"]},
        "datatype": {"enum": ["UINT8", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "[N, H, H, 3], or else [N]"},
        "data": {"type": "array", "items": {}, "description": "row-major; encoded_image is binary data only"},
        "parameters": {"type": "object", "description": "binary_data_size, or shared_memory_region and its size"},
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "description": "Comes back"},
        "inputs": {"type": "array", "items": _TENSOR, "description": "image or encoded_image; expected if it is known"},
        "outputs": {"type": "array", "items": {"type": "object"}, "description": "All of them if missing"},
        "parameters": {
            "type": "object",
            "description": "timeout: microseconds, can only shorten the service's. expected: for all images. "
            "binary_data_output. priority: accepted, there is one level. Any other is an error.",
        },
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}

INFER = describe_operation(
    "Judge N images by the Open Inference Protocol V2",
    body={"application/json": _REQUEST, "application/octet-stream": {"type": "string", "format": "binary"}},
    answer=_ANSWER,
    errors=(
        MalformedRequest,
        NotFound,
        BodyTooLarge,
        InvalidImage,
        Overloaded,
        Internal,
        NotReady,
        DeadlineExceeded,
    ),
)
INFER["tags"] = ["Open Inference Protocol V2"]
INFER["parameters"] = [
    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
    {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Where the JSON ends and binary data begins",
        "schema": {"type": "integer"},
    },
]
