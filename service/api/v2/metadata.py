"""Metadata of the server and its model."""

from importlib.metadata import version
from typing import Any

from gate import Card
from service.api.v2.response import DATATYPES
from service.api.v2.served_model import ServedModel
from service.settings import Settings

PLATFORM = "onnxruntime_onnx"

_EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
_INPUTS = {
    "image": ("UINT8", [-1, -1, -1, 3]),
    "encoded_image": ("BYTES", [-1]),
    "expected": ("BYTES", [-1]),
}


def served_model(card: Card, settings: Settings) -> ServedModel:
    """Return the properties that requests for this model are validated against."""
    outputs = tuple(name for name in DATATYPES if name != "novelty" or name in card.outputs)
    return ServedModel(
        name=card.name,
        version=card.version,
        size=card.input.size,
        outputs=outputs,
        max_images=settings.max_inflight_images,
    )


def server_metadata(settings: Settings) -> dict[str, Any]:
    """Return name, version and extensions of the server."""
    extensions = (*_EXTENSIONS, "system_shared_memory") if settings.shared_memory else _EXTENSIONS
    return {"name": "lensgate", "version": version("lensgate"), "extensions": extensions}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Return inputs and outputs; a request has either `image` or `encoded_image`, `expected` is optional."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in _INPUTS.items()],
        "outputs": [{"name": name, "datatype": DATATYPES[name], "shape": [-1]} for name in model.outputs],
    }


def model_config(model: ServedModel) -> dict[str, Any]:
    """Return the configuration in Triton's format. `max_batch_size` 0 means that shapes include the batch dimension."""
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": [
            {"name": name, "data_type": _data_type(datatype), "dims": dims, "optional": True}
            for name, (datatype, dims) in _INPUTS.items()
        ],
        "output": [{"name": name, "data_type": _data_type(DATATYPES[name]), "dims": [-1]} for name in model.outputs],
        "parameters": {
            "size": {"string_value": str(model.size)},
            "image_sizes": {"string_value": f"multiples of {model.size}"},
            "max_images": {"string_value": str(model.max_images)},
        },
    }


def repository_entry(model: ServedModel, reason: str | None) -> dict[str, Any]:
    """Return the served version for the repository index; `reason` explains why it is not ready."""
    state = "READY" if reason is None else "UNAVAILABLE"
    return {"name": model.name, "version": model.version, "state": state, "reason": reason or ""}


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
