"""The OpenAPI document is one that its readers can work with."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gate import Band, decide
from service.api.documentation import OPERATIONS
from service.api.v2.schemas import InferenceHead, InferenceResponse
from service.http.openapi import Problem
from service.schemas import DecisionAnswer
from tests.support.openapi import as_text
from tests.support.servers import Running, running_service


@pytest.fixture(scope="module")
def document() -> Iterator[dict[str, Any]]:
    with running_service() as service:
        yield service.client.get("/openapi.json").json()


def test_committed_document_is_the_one_served(document: dict[str, Any]) -> None:
    committed = Path(__file__).parents[3] / "docs/openapi.json"
    assert committed.read_text(encoding="utf-8") == as_text(document), "run `make openapi`"


def test_each_part_of_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    assert "/v2/models/{name}/infer" in document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            named = [each for each in operation["parameters"] if each["in"] == "path"]
            assert sorted(each["name"] for each in named) == sorted(re.findall(r"{(\w+)}", path)), (method, path)
            assert all(each["required"] for each in named)


def test_each_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert references
    assert references <= set(document["components"]["schemas"])


def test_each_operation_has_a_group_a_description_and_an_id_of_its_own(document: dict[str, Any]) -> None:
    groups = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(groups.values())
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"describe {method} {path} in service/api/documentation.py"
            assert operation["tags"][0] in groups, (method, path)
            ids.append(operation["operationId"])
    assert len(ids) == len(set(ids))
    assert next(iter(document["paths"])) == "/v1/decisions"
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert described >= OPERATIONS.keys(), "service/api/documentation.py describes operations that do not exist"


def test_each_parameter_has_a_description(document: dict[str, Any]) -> None:
    without = [
        (path, parameter["name"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for parameter in operation["parameters"]
        if not (parameter.get("description") or parameter["schema"].get("description"))
    ]
    assert without == []


def test_each_object_is_a_named_component(document: dict[str, Any]) -> None:
    inline = [part for part in walk(document["paths"]) if "properties" in part]
    assert inline == []
    assert {"Problem", "InferenceHead", "InferenceResponse", "DecisionAnswer"} <= set(document["components"]["schemas"])


def test_the_examples_of_a_schema_are_valid(document: dict[str, Any]) -> None:
    assert {name for name, each in document["components"]["schemas"].items() if "examples" in each} == {
        "DecisionAnswer",
        "DecisionLine",
        "InferenceHead",
        "InferenceResponse",
        "Problem",
    }
    for model in (DecisionAnswer, InferenceHead, InferenceResponse, Problem):
        (example,) = model.model_json_schema()["examples"]
        assert model.model_validate(example)


def test_the_example_of_a_decision_follows_from_its_probability_and_band() -> None:
    (example,) = DecisionAnswer.model_json_schema()["examples"]
    decision = decide(example["glasses_probability"], Band(**example["band"]))
    found = DecisionAnswer.model_validate(example)
    assert (found.label, found.decision, found.reason) == (decision.label, decision.action, decision.reason)


def test_names_in_the_descriptions_exist(document: dict[str, Any]) -> None:
    texts = [part.get(key) for part in walk(document) for key in ("description", "summary")]
    named = {name for text in texts if isinstance(text, str) for name in re.findall(r"`([a-z][a-z0-9_]*)`", text)}
    strings = [each for part in walk(document) for key, value in part.items() for each in (key, value)]
    strings += [each for value in strings if isinstance(value, list) for each in value]
    assert "cursor" in named
    assert named - {each for each in strings if isinstance(each, str)} == {"tritonclient"}


def walk(part: Any) -> Iterator[dict[str, Any]]:
    """Every object within a document."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(each)


def test_document_declares_optional_bearer_authentication(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"token": []}, {}]


def test_document_lists_400_instead_of_the_default_422(document: dict[str, Any]) -> None:
    assert "ValidationError" not in str(document)
    assert "400" in document["paths"]["/v1/decisions"]["get"]["responses"]


def test_concurrent_first_requests_get_the_same_document(service: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.client.get("/openapi.json"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    head = service.client.head("/openapi.json")
    assert (head.headers["content-type"], head.content) == ("application/json", b"")
