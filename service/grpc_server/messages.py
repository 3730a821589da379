"""The protocol's messages, from the compiled `open_inference.proto`.

They live in a descriptor pool of their own: another copy of the protocol in this process, such as `tritonclient`'s,
would otherwise collide with them.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

COMPILED = "open_inference.binpb"
SERVICE = "inference.GRPCInferenceService"

HEALTH = "grpc.health.v1.Health"
"""The service that probes of Kubernetes and Envoy call; its response has one number, the status."""

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""The two responses of its method `Check`."""


def _load() -> Any:
    compiled = descriptor_pb2.FileDescriptorSet.FromString(files(__package__).joinpath(COMPILED).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    return pool


_pool = _load()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))


ServerLiveResponse = _message("ServerLiveResponse")
ServerReadyResponse = _message("ServerReadyResponse")
ModelReadyRequest = _message("ModelReadyRequest")
ModelReadyResponse = _message("ModelReadyResponse")
ServerMetadataResponse = _message("ServerMetadataResponse")
ModelMetadataRequest = _message("ModelMetadataRequest")
ModelMetadataResponse = _message("ModelMetadataResponse")
ModelInferRequest = _message("ModelInferRequest")
ModelInferResponse = _message("ModelInferResponse")
ModelStreamInferResponse = _message("ModelStreamInferResponse")


def encode(message: Any) -> bytes:
    """Return the bytes of a message on the wire."""
    encoded: bytes = message.SerializeToString()
    return encoded
