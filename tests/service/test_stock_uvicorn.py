"""The fallback to uvicorn's own protocol, for versions whose private parts were not tested."""

import json
import re
import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
import uvicorn

from service.http import uvicorn_adapter
from tests.service.access.certificates import make_certificate
from tests.service.streams.uploads import FORM_TYPE, TAR_TYPE, archive, form
from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_service

WHITE = encode(flat(255))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_adapter, "TESTED", (0, 1))


@pytest.fixture
def stock(untested: None) -> Iterator[Running]:  # noqa: ARG001
    with running_service(max_body_bytes=2**20, max_header_bytes=2**14) as running:
        assert running.server.config.http == "h11"
        yield running


def test_a_warning_names_the_lost_limits_and_the_tested_version(
    untested: None,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_service():
        pass
    (warning,) = (record for record in caplog.records if "not tested" in record.getMessage())
    assert warning.levelname == "WARNING"
    assert f"uvicorn {uvicorn.__version__}" in warning.getMessage()
    assert "timeouts of request heads" in warning.getMessage()
    assert warning.getMessage().endswith("Install uvicorn 0.1")


def test_decisions_probes_and_metrics_are_served(stock: Running) -> None:
    answer = stock.post(WHITE, id="a")
    assert (answer.status_code, answer.json()["id"], answer.json()["label"]) == (200, "a", "glasses")
    assert stock.client.get("/livez").json() == {"status": "alive"}
    assert stock.client.get("/readyz").json() == {"status": "ready"}
    assert stock.metric("lensgate_requests_total", route="/v1/decisions", status="200") == 1


@pytest.mark.parametrize(("body", "kind"), [(form, FORM_TYPE), (archive, TAR_TYPE)])
def test_a_batch_is_answered_line_by_line(stock: Running, body: Callable[..., bytes], kind: str) -> None:
    upload = body([("a.png", WHITE), ("b.png", b"not an image"), ("c.png", encode(flat(0)))])
    answer = stock.client.post("/v1/decisions/batch", content=upload, headers={"Content-Type": kind})
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert last == {"summary": {"accept": 2, "discard": 0, "error": 1}}


def test_a_tensor_is_decided(stock: Running) -> None:
    pixels = np.zeros((1, 32, 32, 3), np.uint8).tobytes()
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}
    head = orjson.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(pixels)}}]})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = stock.client.post("/v2/models/glasses/infer", content=head + pixels, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [0.0]


def test_the_limits_of_the_app_remain(stock: Running) -> None:
    for content in (bytes(2**20 + 1), iter([bytes(2**20), b"x"])):
        answer = stock.client.post("/v1/decisions", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert stock.client.get("/livez", headers={"X-Long": "x" * 2**19}).status_code == 400
    assert stock.post(WHITE).status_code == 200


@pytest.mark.debian
def test_tls_and_the_port_of_probes_are_served(untested: None, tmp_path: Path) -> None:  # noqa: ARG001
    files = make_certificate(tmp_path)
    with running_service(tls_certificate=files.certificate, tls_key=files.key, metrics_port=_free_port()) as running:
        assert running.server.metrics_url is not None
        assert httpx.get(f"{running.server.metrics_url}/readyz", trust_env=False).status_code == 200
        with httpx.Client(base_url=running.url, verify=files.trust(), timeout=TIMEOUT, trust_env=False) as client:
            assert client.post("/v1/decisions", content=WHITE).status_code == 200


def test_only_tested_minor_versions_are_allowed_at_installation() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (allowed,) = (each for each in extras["service"] if each.startswith("uvicorn"))
    major, minor = uvicorn_adapter.TESTED
    assert allowed.endswith(f",<{major}.{minor + 1}")
    assert uvicorn_adapter.is_tested(f"{major}.{minor}.7")
    assert not uvicorn_adapter.is_tested(f"{major}.{minor + 1}.0")


def test_only_the_adapter_uses_private_parts_of_uvicorn() -> None:
    private = re.compile(r"from uvicorn[. ]|import uvicorn\.|uvicorn\.(?:protocols|config|server)\b")
    found = {
        path.relative_to(ROOT).parts for path in (ROOT / "service").rglob("*.py") if private.search(path.read_text())
    }
    assert found == {("service", "http", "uvicorn_adapter", "protocol.py")}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
