"""Every answer of the service has a status and a Content-Type that its OpenAPI document describes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.policy import Open, need_of
from tests.service.access.keys import bearer, write_tokens
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service, wait_until

IDENTITY = '=1+"a",\u05d0\U0001f600'
FILES = {
    "/metrics": "text/plain",
    "/v1/decisions?format=csv": "text/csv",
    "/v1/decisions?format=ndjson": "application/x-ndjson",
    "/v1/review/corrections.csv": "text/csv",
    "/v1/review/dataset.tar": "application/x-tar",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("conformity")
    entries = {
        "boss": 'scopes = ["admin"]',
        "gen": 'scopes = ["decide"]',
        "slow": 'scopes = ["admin"]\nrequests_per_second = 0.001',
    }
    tokens = write_tokens(folder / "tokens.toml", entries)
    with running_service(tokens=tokens, records_url=records_url(folder), audit_ratio=1.0) as running:
        yield running


def records_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'records.db'}"


@pytest.fixture(scope="module")
def document(service: Running) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get("/openapi.json", headers=bearer("boss")).json()
    return found


@pytest.fixture(scope="module")
def decided(service: Running) -> Mapping[str, str]:
    """Values for the parts of paths, of a decision that is recorded."""
    for value in (0, 128, 255):
        query = {"id": IDENTITY, "source": IDENTITY, "expected": "glasses"}
        answer = service.client.post("/v1/decisions", params=query, content=encode(flat(value)), headers=bearer("gen"))
        assert answer.status_code == 200
    service.client.post("/v1/decisions", content=b"x", headers=bearer("gen"))

    def recorded() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = service.client.get("/v1/decisions", headers=bearer("boss")).json()["decisions"]
        return found

    wait_until(lambda: len(recorded()) == 3 and all(each["image"] for each in recorded()))
    return {"name": IDENTITY, "record": recorded()[0]["record"], "region": "r"}


def targets(document: dict[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Method, path of the document, and a path that is asked for."""
    for path, operations in document["paths"].items():
        given = {**values, "name": "glasses"} if path.startswith("/v2") else values
        for method in operations:
            yield method, path, re.sub(r"{(\w+)}", lambda part, given=given: given[part[1]], path)  # type: ignore[misc]


def undescribed(document: dict[str, Any], method: str, path: str, answer: httpx.Response) -> str | None:
    """What the document lacks of an answer."""
    described = document["paths"][path][method]["responses"].get(str(answer.status_code))
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if described is None:
        return f"status {answer.status_code}"
    return f"{kind} of {answer.status_code}" if answer.content and kind not in described.get("content", {}) else None


@pytest.mark.parametrize(
    "asked",
    [
        {"headers": bearer("boss")},
        {"headers": bearer("boss"), "params": {"colour": "red"}},
        {"headers": bearer("boss"), "json": []},
        {"headers": bearer("gen")},
        {"headers": bearer("slow")},
        {},
    ],
    ids=["plain", "unknown name", "no object", "other scope", "too often", "no token"],
)
def test_each_answer_is_described(
    service: Running, document: dict[str, Any], decided: Mapping[str, str], asked: dict[str, Any]
) -> None:
    found = {}
    for method, path, target in targets(document, decided):
        answer = service.client.request(method, target, **asked)
        found[f"{method} {path}"] = undescribed(document, method, path, answer)
    assert len(found) > 30
    assert {operation: lacking for operation, lacking in found.items() if lacking} == {}


def test_the_errors_of_a_large_or_slow_body_are_described(
    service: Running, document: dict[str, Any], decided: Mapping[str, str]
) -> None:
    sent = set()
    for method, path, target in targets(document, decided):
        operation = document["paths"][path][method]
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert {"408", "413"} <= operation["responses"].keys(), path
            if not path.endswith("/infer"):
                answer = service.client.request(method, target, json="x" * 100_000, headers=bearer("boss"))
                assert answer.status_code == 413, path
                sent.add(path)
    assert len(sent) == 6


@pytest.mark.parametrize("target", FILES)
def test_a_file_is_described_with_its_content_type(
    service: Running, document: dict[str, Any], decided: Mapping[str, str], target: str
) -> None:
    assert decided
    answer = service.client.get(target, headers=bearer("boss"))
    assert answer.headers["content-type"].partition(";")[0] == FILES[target]
    assert undescribed(document, "get", target.partition("?")[0], answer) is None


def test_only_open_operations_need_no_token(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            is_open = need_of(method.upper(), path) is Open.TO_ALL
            assert operation.get("security") == ([] if is_open else None), (method, path)


def test_a_generated_client_may_send_an_image_as_bytes(document: dict[str, Any]) -> None:
    for path in ("/v1/decisions", "/v1/trials"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert next(iter(content)) == "image/png"
        assert content["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
