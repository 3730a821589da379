"""A long upload through the batch endpoint of a real `lensgate serve`: its memory, and its pace against single images.

    python -m bench.streaming [--gigabytes 2] [--faces samples]

The archive is made while it is sent, of the same few faces over and over. Before it and after it the same faces are
POSTed one a request on as many connections as there are cores, in turns, so that a busy machine slows both.
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
class Face:
    """One image, and the same as a member of an archive."""

    body: bytes
    member: bytes = field(init=False)

    def __post_init__(self) -> None:
        info = tarfile.TarInfo("face.png")
        info.size = len(self.body)
        self.member = info.tobuf() + self.body + bytes(-len(self.body) % tarfile.BLOCKSIZE)


@dataclass
class Progress:
    """How much was sent, said now and then with the memory it takes."""

    sent: int = 0
    _start: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    def show(self, resident: float) -> None:
        """Take note of the resident memory in MB."""
        if (now := time.monotonic()) - self._shown >= PRINT_SECONDS:
            self._shown = now
            print(f"{now - self._start:8.0f} s {self.sent / 1e9:8.2f} GB sent {resident:8.1f} MB resident")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--faces", type=Path, default=Path("samples"))
    options = parser.parse_args(arguments)
    faces = [Face(path.read_bytes()) for path in sorted(options.faces.glob("*.png"))]
    if not faces:
        print(f"there are no PNG files in {options.faces}", file=sys.stderr)
        return 1
    with tempfile.TemporaryFile("w+b") as log:
        process = subprocess.Popen([sys.executable, "-m", "lensgate", "serve", "--port", "0"], stderr=log)
        try:
            _measure(process, port_of(process, log.fileno()), faces, size=int(options.gigabytes * 1e9))
        finally:
            process.terminate()
            process.wait(20)
    return 0


def _measure(process: "subprocess.Popen[bytes]", port: int, faces: Sequence[Face], *, size: int) -> None:
    _singles(port, faces)
    before = _singles(port, faces)
    resident = memory(process.pid, "VmRSS")
    progress = Progress()
    with MemoryWatch(process.pid, period=0.05, on_sample=progress.show) as watch:
        start = time.perf_counter()
        summary = _stream(port, faces, size, progress)
        pace = sum(summary.values()) / (time.perf_counter() - start)
    after = _singles(port, faces)
    single = (before + after) / 2
    print(f"{progress.sent / 1e9:.2f} GB in one upload, {sum(summary.values()):,} images: {summary}")
    print(f"resident: {resident:.1f} MB before, at most {watch.peak:.1f} MB while it went through")
    print(f"{pace:6.1f} images/s in the stream")
    print(f"{single:6.1f} images/s one a request on {_cores()} connections ({before:.1f} before, {after:.1f} after)")
    print(f"{pace / single:6.2f} of the pace of single images")


def _stream(port: int, faces: Sequence[Face], size: int, progress: Progress) -> dict[str, int]:
    """Send an archive of about `size` bytes and read the lines meanwhile; the counts of its last line."""
    head = b"POST /v1/decisions/batch HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-tar\r\n"

    def send(connection: socket.socket) -> None:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in _archive(faces, size):
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            progress.sent += len(part)
        connection.sendall(b"0\r\n\r\n")

    # HTTPConnection opens another connection for the rest of a body whose answer has begun.
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, connection)
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        *_, last = answer
        sending.result()
    counts: dict[str, int] = json.loads(last)["summary"]
    return counts


def _archive(faces: Sequence[Face], size: int) -> Iterator[bytes]:
    sent = 0
    for face in itertools.cycle(faces):
        if sent >= size:
            break
        sent += len(face.member)
        yield face.member
    yield bytes(2 * tarfile.BLOCKSIZE)


def _singles(port: int, faces: Sequence[Face]) -> float:
    """Images a second, one a request, on as many connections as there are cores."""
    share = SINGLE_IMAGES // _cores()
    start = time.perf_counter()
    with ThreadPoolExecutor(_cores()) as pool:
        list(pool.map(lambda _: _post(port, itertools.islice(itertools.cycle(faces), share)), range(_cores())))
    return share * _cores() / (time.perf_counter() - start)


def _post(port: int, faces: Iterator[Face]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for face in faces:
        connection.request("POST", "/v1/decisions", face.body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(text.decode())
    connection.close()


def _cores() -> int:
    return usable_cores()


if __name__ == "__main__":
    sys.exit(main())
