"""Error codes, operations and metrics of the service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from prometheus_client import Metric

from docs.generate.markdown import code, summary, table
from gate.errors import ImageError
from service.access.policy import need_of
from service.errors import InvalidImage, ServiceError
from tests.support.models import brightness_model
from tests.support.servers import running_service

OPENAPI = Path(__file__).parents[1] / "openapi.json"

_Kind = TypeVar("_Kind")

_OPEN_LABELS = {"name", "provider", "route", "sha256", "status", "version", "worker"}
"""Labels whose values depend on the model, the machine or the route."""


def codes() -> str:
    """List the error codes, each with its status and the docstring of its class."""
    kinds = [
        *((one.status, one.code, one.__doc__) for one in _subclasses(ServiceError) if one is not InvalidImage),
        *((InvalidImage.status, one.code, one.__doc__) for one in _subclasses(ImageError)),
    ]
    kinds.sort(key=lambda kind: kind[0])
    return table(
        ["status", "code", "meaning"], [[str(status), code(name), summary(text)] for status, name, text in kinds]
    )


def _subclasses(kind: type[_Kind]) -> Iterator[type[_Kind]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def operations(*, v2: bool) -> str:
    """List the operations of the OpenAPI document, below `/v2` or elsewhere: scope, parameters and statuses."""
    rows = []
    for path, methods in sorted(json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"].items()):
        if path.startswith("/v2") is not v2:
            continue
        for method, operation in methods.items():
            need = need_of(method.upper(), path).value
            parameters = ", ".join(code(one["name"]) for one in operation["parameters"] if one["in"] != "path")
            statuses = ", ".join(sorted(operation["responses"]))
            rows.append([code(f"{method.upper()} {path}"), operation["summary"], need, parameters or "-", statuses])
    return table(["operation", "does", "scope", "parameters", "status"], rows)


def metrics() -> str:
    """List the metric families that a service exports, with their labels and the values of these."""
    with running_service() as running:
        running.runtime.metrics.shadow.serve(brightness_model().card)
        running.client.get("/metrics")
        families = sorted(running.runtime.metrics.registry.collect(), key=lambda family: family.name)
    rows = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append([code(name), family.type, _labels(family), family.documentation])
    return table(["metric", "type", "labels", "meaning"], rows)


def _labels(family: Metric) -> str:
    values: dict[str, list[str]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            if name != "le" and value not in values.setdefault(name, []):
                values[name].append(value)
    shown = []
    for name, seen in values.items():
        shown.append(code(name) if name in _OPEN_LABELS else f"{code(name)}: {', '.join(sorted(seen))}")
    return "; ".join(shown) or "-"
