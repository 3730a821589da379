"""From exec to ready: time until `lensgate serve` answers /readyz with 200, by phase.

python -m bench.startup
"""

import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

from bench.arguments import read_places

RUNS = 7
STAGES = (
    ("the interpreter", "pass"),
    ("+ numpy, decoders, ONNX Runtime", "import gate.scorer"),
    ("+ FastAPI, uvicorn and the service", "import gate.scorer, service.server"),
)


def main() -> int:
    """Measure and print."""
    ready = statistics.median(seconds_to_ready() for _ in range(RUNS))
    for title, code in STAGES:
        seconds = statistics.median(_seconds_to_run(code) for _ in range(RUNS))
        print(f"{title:36} {seconds:5.2f} s  {seconds / ready:5.0%}")
    print(f"{'exec to ready':36} {ready:5.2f} s   100%  (median of {RUNS})")
    return 0


def _seconds_to_run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def seconds_to_ready() -> float:
    """Time one start."""
    with tempfile.TemporaryFile("w+b") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lensgate", "serve", "--port", "0", "--log-level", "info"], stderr=log
        )
        try:
            port = port_of(process, log.fileno())
            while not _is_ready(port):
                time.sleep(0.002)
            return time.perf_counter() - start
        finally:
            process.terminate()
            process.wait(10)


def port_of(process: "subprocess.Popen[bytes]", log: int) -> int:
    """Return the port that `lensgate serve` logs to the file of its standard error."""
    while process.poll() is None:
        match = re.search(rb"running on http://[^:]+:(\d+)", os.pread(log, 1 << 16, 0))
        if match:
            return int(match[1])
        time.sleep(0.002)
    raise SystemExit(os.pread(log, 1 << 16, 0).decode())


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    read_places("bench.startup", __doc__)
    sys.exit(main())
