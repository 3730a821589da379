"""Validate the fields of Prometheus Operator resources that the project uses, by its published definitions.

https://prometheus-operator.dev/docs/api-reference/api/
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["RESOURCES"]

_DURATION = "^(0|" + "".join(f"(([0-9]+){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms")) + ")$"
Duration = Annotated[str, Field(pattern=_DURATION)]
Labels = dict[str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(_Strict):
    name: str
    labels: Labels


class Endpoint(_Strict):
    port: str
    path: str
    interval: Duration
    scrape_timeout: Duration


class Selector(_Strict):
    match_labels: Labels


class ServiceMonitorSpec(_Strict):
    job_label: str
    selector: Selector
    endpoints: Annotated[list[Endpoint], Field(min_length=1)]


class Rule(_Strict):
    expr: str | int
    record: str | None = None
    alert: str | None = None
    for_: Annotated[Duration | None, Field(alias="for")] = None
    keep_firing_for: Annotated[Duration | None, Field(alias="keep_firing_for")] = None
    labels: Labels = {}
    annotations: Labels = {}


class RuleGroup(_Strict):
    name: Annotated[str, Field(min_length=1)]
    interval: Duration | None = None
    limit: int | None = None
    rules: list[Rule]


class PrometheusRuleSpec(_Strict):
    groups: list[RuleGroup]


class _Resource(_Strict):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: Metadata


class ServiceMonitor(_Resource):
    kind: Literal["ServiceMonitor"]
    spec: ServiceMonitorSpec


class PrometheusRule(_Resource):
    kind: Literal["PrometheusRule"]
    spec: PrometheusRuleSpec


RESOURCES: dict[str, type[_Resource]] = {"ServiceMonitor": ServiceMonitor, "PrometheusRule": PrometheusRule}
