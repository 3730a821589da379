"""A gRPC caller that sends bytes as they are, and what it is told."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from service.grpc_server.messages import SERVICE, ModelInferRequest, ModelInferResponse
from tests.support.servers import TIMEOUT, Running

EDGE = 32
# The service's own message, so that it may differ from what the client library can build.
Request = ModelInferRequest


@dataclass(frozen=True)
class Refused:
    """The status of a refused call, and its trailing metadata."""

    status: grpc.StatusCode
    detail: str
    metadata: Mapping[str, str]

    @property
    def code(self) -> str:
        """The service's code; empty if grpc itself refused the call."""
        return self.metadata.get("code", "")


class Caller:
    """Calls one service without a client library in between."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def ask(self, message: bytes, *, method: str = "ModelInfer", **options: Any) -> bytes | Refused:
        """Send one message; return the answer's bytes, or the refusal."""
        return self._settle(self.channel.unary_unary(path(method)), message, options)

    def send(self, messages: Iterable[bytes], *, method: str = "ModelInfer", **options: Any) -> bytes | Refused:
        """Send what the iterable yields, for as long as it takes."""
        return self._settle(self.channel.stream_unary(path(method)), iter(messages), options)

    def stream(self, messages: Iterable[bytes], **options: Any) -> Any:
        """Open a stream; iterate over the result for its answers."""
        return self.channel.stream_stream(path("ModelStreamInfer"))(iter(messages), **{"timeout": TIMEOUT, **options})

    @staticmethod
    def _settle(call: Any, given: Any, options: dict[str, Any]) -> bytes | Refused:
        try:
            answer: bytes = call(given, **{"timeout": TIMEOUT, **options})
        except grpc.RpcError as error:
            return refused(error)
        return answer


def refused(error: Any) -> Refused:
    """Read an error of grpc."""
    return Refused(error.code(), error.details(), dict(error.trailing_metadata() or ()))


def path(method: str) -> str:
    """The path of a method."""
    return f"/{SERVICE}/{method}"


@contextmanager
def calling(service: Running, **options: int | str) -> Iterator[Caller]:
    """Connect to the gRPC port of a running service."""
    with grpc.insecure_channel(address(service), options=list(options.items())) as channel:
        yield Caller(channel)


def address(service: Running) -> str:
    """The address of the gRPC port."""
    assert service.server.grpc is not None
    return f"127.0.0.1:{service.server.grpc.port}"


def pixels_request(*levels: int, **changes: Any) -> Any:
    """Build a request for grey images, one for each level, at the fake model's size."""
    levels = levels or (51,)
    request = Request(model_name="glasses", **changes)
    request.inputs.add(name="image", datatype="UINT8", shape=[len(levels), EDGE, EDGE, 3])
    images = [np.full((EDGE, EDGE, 3), level, np.uint8).tobytes() for level in levels]
    request.raw_input_contents.append(b"".join(images))
    return request


def encoded(request: Any) -> bytes:
    """The bytes of a message."""
    data: bytes = request.SerializeToString()
    return data


def read_answer(answer: bytes | Refused) -> Any:
    """Parse a `ModelInferResponse`."""
    assert isinstance(answer, bytes), answer
    return ModelInferResponse.FromString(answer)
