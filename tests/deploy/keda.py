"""Validate the fields of KEDA's ScaledObject that the project uses, by its published definition.

https://keda.sh/docs/latest/reference/scaledobject-spec/
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["ScaledObject"]

Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(_Strict):
    name: str
    labels: dict[str, str]


class Target(_Strict):
    api_version: str
    kind: str
    name: str


class PrometheusQuery(_Strict):
    """KEDA takes every value as text."""

    server_address: Annotated[str, Field(pattern=r"^https?://")]
    query: str
    threshold: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
    ignore_null_values: Literal["true", "false"]


class Share(_Strict):
    value: Annotated[str, Field(pattern=r"^\d+$")]


class PrometheusTrigger(_Strict):
    type: Literal["prometheus"]
    name: str
    metric_type: Literal["AverageValue", "Value"]
    metadata: PrometheusQuery


class CpuTrigger(_Strict):
    type: Literal["cpu"]
    name: str
    metric_type: Literal["Utilization", "AverageValue"]
    metadata: Share


class AutoscalerConfig(_Strict):
    behavior: dict[str, Any]
    """As in a HorizontalPodAutoscaler."""


class Advanced(_Strict):
    horizontal_pod_autoscaler_config: AutoscalerConfig


class Spec(_Strict):
    scale_target_ref: Target
    min_replica_count: Count
    max_replica_count: Count
    triggers: Annotated[
        list[Annotated[PrometheusTrigger | CpuTrigger, Field(discriminator="type")]], Field(min_length=1)
    ]
    advanced: Advanced


class ScaledObject(_Strict):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: Spec
