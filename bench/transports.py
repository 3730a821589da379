"""The cost of gRPC against HTTP: processor time of the service for the same V2 requests over both.

    python -m bench.transports --images samples

Eight callers on connections of their own send liveness probes, PNG files, single tensors and batches of tensors of the
model's input size to one service, over either transport in turns. A probe shows the cost of the transport alone; in the
other rows decoding and the model are the same. Processor time depends little on other load. The callers send prepared
bytes, so that no client library takes part.
"""

import argparse
import http.client
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import grpc
import numpy as np

from bench.scaling.processor import seconds_of
from bench.serving.contenders import lensgate
from bench.serving.posts import Post, pixels_post, read_pictures, vector_post
from bench.serving.processes import free_port
from bench.turns import alternate
from gate import ModelStore, read_pixels
from gate.types import Pixels
from service.grpc_server.messages import SERVICE, ModelInferRequest

ROOT = Path(__file__).parents[1]
BATCH = 32
CALLERS = 8

WARM_SECONDS = 1.0

Send = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Workload:
    """The same requests for both transports."""

    title: str
    posts: Sequence[Post]
    messages: Sequence[bytes]
    verb: str = "POST"
    call: str = "ModelInfer"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    print("ms of processor time a request".ljust(34) + "".join(name.rjust(8) for name in ("HTTP", "gRPC", "ratio")))
    grpc_port = free_port()
    settings = {
        "LENSGATE_GRPC_PORT": str(grpc_port),
        "LENSGATE_RECORDS_URL": "off",
        "LENSGATE_MAX_INFLIGHT_IMAGES": "1024",
    }
    service = lensgate(settings=settings)
    with service.running(pictures[0]) as running:
        for workload in _workloads(pictures):
            _compare(workload, running.pid, ports={"HTTP": running.port, "gRPC": grpc_port}, options=options)
    return 0


def _compare(workload: Workload, pid: int, *, ports: Mapping[str, int], options: argparse.Namespace) -> None:
    connect = {"HTTP": _over_http, "gRPC": _over_grpc}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(CALLERS))
        sends = {
            name: [stack.enter_context(connect[name](port, workload)) for _ in range(CALLERS)]
            for name, port in ports.items()
        }
        for callers in sends.values():
            _cost(callers, pid, WARM_SECONDS, pool)
        turns = {name: partial(_cost, callers, pid, options.seconds, pool) for name, callers in sends.items()}
        measured = alternate(turns, rounds=options.rounds)
    ratio = statistics.median(other / one for one, other in zip(measured["HTTP"], measured["gRPC"], strict=True))
    costs = "".join(f"{statistics.median(measured[name]) * 1000:8.3f}" for name in sends)
    print(f"{workload.title:34}{costs}{ratio:8.2f}")


def _cost(callers: Sequence[Send], pid: int, seconds: float, pool: ThreadPoolExecutor) -> float:
    """Return the service's seconds of processor time for one request."""
    used = seconds_of(pid)
    count = sum(pool.map(partial(_repeat, until=time.monotonic() + seconds), callers))
    return (seconds_of(pid) - used) / count


def _repeat(send: Send, *, until: float) -> int:
    count = 0
    while not count or time.monotonic() < until:
        send()
        count += 1
    return count


def _workloads(pictures: Sequence[bytes]) -> list[Workload]:
    size = ModelStore(ROOT / "models").load().card.input.size
    pixels = np.stack([read_pixels(picture, size) for picture in pictures])
    batch = pixels[np.arange(BATCH) % len(pixels)]
    files = [vector_post(data, binary_answer=True) for data in pictures]
    return [
        Workload("liveness probe", [Post("/v2/health/live", b"")], [b""], verb="GET", call="ServerLive"),
        Workload(f"PNG of {len(pictures[0]) / 1e6:.1f} MB", files, [_file_message(data) for data in pictures]),
        Workload("1 tensor", [pixels_post(pixels[:1], binary_answer=True)], [_pixels_message(pixels[:1])]),
        Workload(f"{BATCH} tensors", [pixels_post(batch, binary_answer=True)], [_pixels_message(batch)]),
    ]


def _pixels_message(pixels: Pixels) -> bytes:
    return _message("image", "UINT8", pixels.shape, pixels.tobytes())


def _file_message(data: bytes) -> bytes:
    return _message("encoded_image", "BYTES", (1,), struct.pack("<I", len(data)) + data)


def _message(name: str, datatype: str, shape: Sequence[int], data: bytes) -> bytes:
    request = ModelInferRequest(model_name="glasses", raw_input_contents=[data])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    encoded: bytes = request.SerializeToString()
    return encoded


@contextmanager
def _over_http(port: int, workload: Workload) -> Iterator[Send]:
    waiting = cycle(workload.posts)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:

        def send() -> None:
            post = next(waiting)
            connection.request(workload.verb, post.path, post.body or None, dict(post.headers))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ValueError(f"HTTP answers {answer.status}: {body[:200]!r}")

        yield send


@contextmanager
def _over_grpc(port: int, workload: Workload) -> Iterator[Send]:
    waiting = cycle(workload.messages)
    # Otherwise grpc would share one connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{workload.call}")
        yield lambda: call(next(waiting), timeout=30)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.transports", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, default=ROOT / "samples", help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each transport")
    return parser


if __name__ == "__main__":
    sys.exit(main())
