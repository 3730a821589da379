"""`lensgate serve` with a gRPC port and two workers: the committed model's decisions, and the end of the processes."""

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray

from gate import read_pixels
from tests.conftest import ROOT
from tests.support.servers import TIMEOUT, Process, running_process, wait_until

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


def test_both_workers_take_connections(process: Process) -> None:
    def workers() -> set[int]:
        with triton.InferenceServerClient(f"127.0.0.1:{port_of(process)}", channel_args=OWN_CONNECTION) as client:
            assert client.is_server_ready()
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
        return {line["worker"] for line in lines if str(line.get("route")).endswith("/ServerReady")}

    wait_until(lambda: workers() == {1, 2})


def test_a_signal_ends_it_with_status_0_and_every_line_is_json(process: Process) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{port_of(process)}") as client:
        assert client.is_server_live()
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(TIMEOUT) == 0
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    infer = [line for line in lines if str(line.get("route")).endswith("/ModelInfer")]
    assert {(line["status"], line["id"]) for line in infer} == {(200, "run")}
    assert [line["accept"] + line["discard"] for line in infer] == [1] * len(FILES) + [len(FILES)]
    assert set(infer[0]["stages"]) == {"read", "decode", "queue", "inference"}
