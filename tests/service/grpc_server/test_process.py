"""`lensgate serve` with a gRPC port and two workers: the committed model's decisions, and the end of the processes."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from gate import read_pixels
from tests.conftest import ROOT
from tests.support.callers import four_callers
from tests.support.servers import TIMEOUT, Process, reload_order, running_process, wait_until

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
FILES = [path.read_bytes() for path in sorted((ROOT / "samples").glob("*.png"))]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("grpc") / "log"
    environment = {**os.environ, "LENSGATE_MODELS": str(ROOT / "models"), "LENSGATE_GRPC_PORT": "0"}
    with running_process(log, environment, "--workers", "2") as running:
        wait_until(lambda: log.read_text().count("gRPC on") == 2, timeout=120)
        yield running


def port_of(process: Process) -> str:
    (port,) = set(re.findall(r"gRPC on 127\.0\.0\.1:(\d+)", process.log.read_text()))
    return str(port)


def test_files_and_pixels_get_the_decisions_of_http(process: Process) -> None:
    with httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as http:
        posted = [http.post("/v1/decisions", content=file).json() for file in FILES]
        size = http.get("/v1/model").json()["input"]["size"]
    pixels = np.stack([read_pixels(file, size) for file in FILES])
    with triton.InferenceServerClient(f"{urlsplit(process.url).hostname}:{port_of(process)}") as client:
        for file, each in zip(FILES, posted, strict=True):
            check(client, tensor("encoded_image", np.array([file], object)), [each])
        check(client, tensor("image", pixels), posted)


def tensor(name: str, array: NDArray[Any]) -> Any:
    made = triton.InferInput(name, list(array.shape), "BYTES" if name == "encoded_image" else "UINT8")
    made.set_data_from_numpy(array)
    return made


def check(client: Any, given: Any, posted: list[dict[str, Any]]) -> None:
    result = client.infer("glasses", [given], request_id="run")
    for output in ("glasses_probability", "novelty"):
        np.testing.assert_allclose(result.as_numpy(output), [each[output] for each in posted], rtol=1e-4)
    for output in ("decision", "reason"):
        assert [text.decode() for text in result.as_numpy(output)] == [each[output] for each in posted]


def lines_of(process: Process, method: str) -> list[dict[str, Any]]:
    """The log lines of a method's calls."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line for line in lines if str(line.get("route")).endswith(f"/{method}")]


@contextmanager
def load_on(process: Process, found: list[str]) -> Iterator[None]:
    """Four callers, each with connections of its own, that ask until the block ends; `found` is given every status."""
    request = tensor("encoded_image", np.array(FILES[:1], object))

    def ask(done: threading.Event) -> None:
        while not done.is_set():
            with triton.InferenceServerClient(f"127.0.0.1:{port_of(process)}", channel_args=OWN_CONNECTION) as client:
                for _ in range(5):
                    try:
                        client.infer("glasses", [request], request_id="load")
                        found.append("OK")
                    except InferenceServerException as error:
                        found.append(error.status())

    with four_callers(ask, found):
        yield


def test_a_reload_of_one_worker_after_the_other_loses_no_call_and_every_worker_shows_the_sum(process: Process) -> None:
    found: list[str] = []
    before = len(lines_of(process, "ModelInfer"))
    with load_on(process, found):
        process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: process.log.read_text().count("model loaded") == 4)
        wait_until(lambda: {line["worker"] for line in lines_of(process, "ModelInfer")[before:]} == {1, 2})
    assert set(found) == {"OK"}
    order = [("reloading model", 1), ("model loaded", 1), ("reloading model", 2), ("model loaded", 2)]
    assert reload_order(process.log)[-4:] == order
    sample = 'lensgate_requests_total{route="/inference.GRPCInferenceService/ModelInfer",status="200"} '

    def is_sum_shown() -> bool:
        shown = httpx.get(f"{process.url}/metrics", timeout=TIMEOUT, trust_env=False).text
        return f"{sample}{len(lines_of(process, 'ModelInfer'))}.0" in shown.splitlines()

    for _ in range(4):
        wait_until(is_sum_shown)  # The last call is counted and logged just after its answer.
    assert len(lines_of(process, "ModelInfer")) >= before + len(found)


def test_a_signal_ends_it_with_status_0_and_loses_no_admitted_call(process: Process) -> None:
    found: list[str] = []
    before = len(lines_of(process, "ModelInfer"))
    with load_on(process, found):
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(TIMEOUT) == 0
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert all(lines)
    # CANCELLED is gRPC's answer to a call that arrives after the connections have been told to end: it was not begun.
    assert {"OK", "StatusCode.UNAVAILABLE"} <= set(found) <= {"OK", "StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    infer = lines_of(process, "ModelInfer")
    assert found.count("OK") == sum(line["status"] == 200 for line in infer[before:])
    assert {line["status"] for line in infer} <= {200, 503}
    # A line is written just after its answer, and the next caller's worker may be faster.
    named = [line for line in infer if line.get("id") == "run"]
    assert [line["accept"] + line["discard"] for line in named] == [1] * len(FILES) + [len(FILES)]
    assert set(infer[0]["stages"]) == {"read", "decode", "queue", "inference"}
