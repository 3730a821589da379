"""Measure a long upload through the batch endpoint of `lensgate serve`: memory, and throughput against single images.

    python -m bench.streaming [--gigabytes 2] [--faces samples]

The archive repeats the same few faces and is generated while it is sent. Before and after it, the same faces are sent
in single requests on one connection per core, so that a busy machine slows both measurements.
"""

import argparse
import http.client
import itertools
import json
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.processes import MemoryWatch, memory
from bench.startup import port_of
from gate.cores import usable_cores

SINGLE_IMAGES = 200
PRINT_SECONDS = 5.0


@dataclass
class SampleFace:
    """One image, and the same image as a member of an archive."""

    body: bytes
    member: bytes = field(init=False)

    def __post_init__(self) -> None:
        info = tarfile.TarInfo("face.png")
        info.size = len(self.body)
        self.member = info.tobuf() + self.body + bytes(-len(self.body) % tarfile.BLOCKSIZE)


@dataclass
class UploadProgress:
    """Bytes sent so far, printed at intervals with the resident memory."""

    sent: int = 0
    _start: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    def show(self, resident: float) -> None:
        """Print the progress and the resident memory in MB, at most every `PRINT_SECONDS`."""
        if (now := time.monotonic()) - self._shown >= PRINT_SECONDS:
            self._shown = now
            print(f"{now - self._start:8.0f} s {self.sent / 1e9:8.2f} GB sent {resident:8.1f} MB resident")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--faces", type=Path, default=Path("samples"))
    options = parser.parse_args(arguments)
    faces = [SampleFace(path.read_bytes()) for path in sorted(options.faces.glob("*.png"))]
    if not faces:
        print(f"no PNG files in {options.faces}", file=sys.stderr)
        return 1
    with tempfile.TemporaryFile("w+b") as log:
        process = subprocess.Popen([sys.executable, "-m", "lensgate", "serve", "--port", "0"], stderr=log)
        try:
            _measure(process, port_of(process, log.fileno()), faces, size=int(options.gigabytes * 1e9))
        finally:
            process.terminate()
            process.wait(20)
    return 0


def _measure(process: "subprocess.Popen[bytes]", port: int, faces: Sequence[SampleFace], *, size: int) -> None:
    _singles(port, faces)
    before = _singles(port, faces)
    resident = memory(process.pid, "VmRSS")
    progress = UploadProgress()
    with MemoryWatch(process.pid, period=0.05, on_sample=progress.show) as watch:
        start = time.perf_counter()
        summary = _stream(port, faces, size, progress)
        rate = sum(summary.values()) / (time.perf_counter() - start)
    after = _singles(port, faces)
    single = (before + after) / 2
    print(f"{progress.sent / 1e9:.2f} GB in one upload, {sum(summary.values()):,} images: {summary}")
    print(f"resident: {resident:.1f} MB before, peak {watch.peak:.1f} MB during the upload")
    print(f"{rate:6.1f} images/s in the upload")
    rates = f"{before:.1f} before, {after:.1f} after"
    print(f"{single:6.1f} images/s in single requests on {usable_cores()} connections ({rates})")
    print(f"{rate / single:6.2f} of the rate of single requests")


def _stream(port: int, faces: Sequence[SampleFace], size: int, progress: UploadProgress) -> dict[str, int]:
    """Send an archive of about `size` bytes while reading the results; return the counts of the summary line."""
    head = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-tar\r\n"

    def send(connection: socket.socket) -> None:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for chunk in _archive(faces, size):
            connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            progress.sent += len(chunk)
        connection.sendall(b"0\r\n\r\n")

    # HTTPConnection would open another connection for the rest of the body once the response has begun.
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, connection)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        *_, last = response
        sending.result()
    counts: dict[str, int] = json.loads(last)["summary"]
    return counts


def _archive(faces: Sequence[SampleFace], size: int) -> Iterator[bytes]:
    sent = 0
    for face in itertools.cycle(faces):
        if sent >= size:
            break
        sent += len(face.member)
        yield face.member
    yield bytes(2 * tarfile.BLOCKSIZE)


def _singles(port: int, faces: Sequence[SampleFace]) -> float:
    """Return images per second in single requests on one connection per core."""
    cores = usable_cores()
    share = max(1, SINGLE_IMAGES // cores)
    start = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda _: _post(port, itertools.islice(itertools.cycle(faces), share)), range(cores)))
    return share * cores / (time.perf_counter() - start)


def _post(port: int, faces: Iterator[SampleFace]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for face in faces:
        connection.request("POST", "/v1/decisions", face.body)
        response = connection.getresponse()
        text = response.read()
        if response.status != http.HTTPStatus.OK:
            raise SystemExit(text.decode())
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
