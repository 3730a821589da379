"""The cost of gRPC against HTTP: processor time of the service for the same V2 requests over both.

    python -m bench.transports --images samples

One caller sends PNG files, single tensors and batches of tensors of the model's input size to one service, over either
transport in turns. Processor time depends little on other load. Connections are kept open; the callers send prepared
bytes, so that no client library takes part.
"""

import argparse
import http.client
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.scaling.processor import seconds_of
from bench.serving.contenders import lensgate
from bench.serving.posts import Post, pixels_post, read_pictures, vector_post
from bench.serving.processes import free_port
from bench.turns import alternate
from gate import ModelStore, read_pixels
from service.grpc_server.messages import SERVICE, ModelInferRequest

ROOT = Path(__file__).parents[1]
BATCH = 32

METHOD = f"/{SERVICE}/ModelInfer"
_WARM_SECONDS = 1.0

Send = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Workload:
    """The same requests for both transports."""

    title: str
    posts: Sequence[Post]
    messages: Sequence[bytes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    print("ms of processor time a request".ljust(34) + "".join(name.rjust(8) for name in ("HTTP", "gRPC", "ratio")))
    grpc_port = free_port()
    service = lensgate(settings={"LENSGATE_GRPC_PORT": str(grpc_port), "LENSGATE_RECORDS_URL": "off"})
    with service.running(pictures[0]) as running:
        for workload in _workloads(pictures):
            _compare(workload, running.pid, ports={"HTTP": running.port, "gRPC": grpc_port}, options=options)
    return 0


def _compare(workload: Workload, pid: int, *, ports: Mapping[str, int], options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        sends = {
            "HTTP": stack.enter_context(_over_http(ports["HTTP"], workload.posts)),
            "gRPC": stack.enter_context(_over_grpc(ports["gRPC"], workload.messages)),
        }
        for send in sends.values():
            _cost(send, pid, _WARM_SECONDS)
        turns = {name: partial(_cost, send, pid, options.seconds) for name, send in sends.items()}
        found = alternate(turns, rounds=options.rounds)
    ratio = statistics.median(other / one for one, other in zip(found["HTTP"], found["gRPC"], strict=True))
    costs = "".join(f"{statistics.median(found[name]) * 1000:8.3f}" for name in sends)
    print(f"{workload.title:34}{costs}{ratio:8.2f}")


def _cost(send: Send, pid: int, seconds: float) -> float:
    """Return the service's seconds of processor time for one request."""
    used, count, end = seconds_of(pid), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        send()
        count += 1
    return (seconds_of(pid) - used) / count


def _workloads(pictures: Sequence[bytes]) -> list[Workload]:
    size = ModelStore(ROOT / "models").load().card.input.size
    pixels = np.stack([read_pixels(picture, size) for picture in pictures])
    batch = pixels[np.arange(BATCH) % len(pixels)]
    files = [vector_post(data) for data in pictures]
    return [
        Workload(f"PNG of {len(pictures[0]) / 1e6:.1f} MB", files, [_file_message(data) for data in pictures]),
        Workload("1 tensor", [pixels_post(pixels[:1], binary_answer=True)], [_pixels_message(pixels[:1])]),
        Workload(f"{BATCH} tensors", [pixels_post(batch, binary_answer=True)], [_pixels_message(batch)]),
    ]


def _pixels_message(pixels: NDArray[np.uint8]) -> bytes:
    return _message("image", "UINT8", pixels.shape, pixels.tobytes())


def _file_message(data: bytes) -> bytes:
    return _message("encoded_image", "BYTES", (1,), struct.pack("<I", len(data)) + data)


def _message(name: str, datatype: str, shape: Sequence[int], data: bytes) -> bytes:
    request = ModelInferRequest(model_name="glasses", raw_input_contents=[data])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    encoded: bytes = request.SerializeToString()
    return encoded


@contextmanager
def _over_http(port: int, posts: Sequence[Post]) -> Iterator[Send]:
    waiting = cycle(posts)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:

        def send() -> None:
            post = next(waiting)
            connection.request("POST", post.path, post.body, dict(post.headers))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ValueError(f"HTTP answers {answer.status}: {body[:200]!r}")

        yield send


@contextmanager
def _over_grpc(port: int, messages: Sequence[bytes]) -> Iterator[Send]:
    waiting = cycle(messages)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        yield lambda: call(next(waiting), timeout=30)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.transports", description=__doc__)
    parser.add_argument("--images", type=Path, default=ROOT / "samples", help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each transport")
    return parser


if __name__ == "__main__":
    sys.exit(main())
