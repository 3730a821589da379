"""The overlay for KEDA: one autoscaler at a time, with the numbers of the HorizontalPodAutoscaler."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from .keda import ScaledObject
from .kustomize import build, merge
from .tools import ROOT, output

KUBERNETES = ROOT / "deploy/kubernetes"
KEDA, CPU = build(KUBERNETES / "overlays/keda"), build(KUBERNETES / "overlays/cpu")
SPEC = KEDA.one("ScaledObject")["spec"]
AUTOSCALER = CPU.one("HorizontalPodAutoscaler")["spec"]


def trigger(kind: str) -> dict[str, Any]:
    (found,) = (one for one in SPEC["triggers"] if one["type"] == kind)
    return dict(found)


def metric(kind: str) -> dict[str, Any]:
    (found,) = (one for one in AUTOSCALER["metrics"] if one["type"] == kind)
    return dict(found[kind.lower()])


def test_the_scaled_object_holds_fields_that_keda_defines() -> None:
    item = KEDA.one("ScaledObject")
    ScaledObject.model_validate(item)
    for wrong in ({"nonsense": 1}, {"triggers": [merge({"metadata": {"threshold": 8}}, trigger("prometheus"))]}):
        with pytest.raises(ValidationError):
            ScaledObject.model_validate(merge({"spec": wrong}, item))


def test_the_deployment_has_one_autoscaler_and_all_else_is_unchanged() -> None:
    assert [item for item in KEDA.all if item["kind"] != "ScaledObject"] == [
        item for item in CPU.all if item["kind"] != "HorizontalPodAutoscaler"
    ]


def test_the_numbers_are_those_of_the_autoscaler() -> None:
    assert SPEC["scaleTargetRef"] == AUTOSCALER["scaleTargetRef"]
    assert (SPEC["minReplicaCount"], SPEC["maxReplicaCount"]) == (AUTOSCALER["minReplicas"], AUTOSCALER["maxReplicas"])
    assert SPEC["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == AUTOSCALER["behavior"]
    queue, cpu = metric("Pods")["target"], metric("Resource")["target"]
    assert trigger("prometheus")["metricType"] == queue["type"]
    assert trigger("prometheus")["metadata"]["threshold"] == queue["averageValue"]
    assert trigger("cpu")["metricType"] == cpu["type"]
    assert trigger("cpu")["metadata"]["value"] == str(cpu["averageUtilization"])


def test_the_query_is_the_sum_of_what_the_adapter_gives_for_each_pod(tmp_path: Path) -> None:
    query = trigger("prometheus")["metadata"]["query"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert re.findall(r"avg_over_time|\[\w+]", query) == re.findall(r"avg_over_time|\[\w+]", rule["metricsQuery"])
    name = metric("Pods")["metric"]["name"]
    series = [
        {"series": f'{name}{{job="{job}", pod="{pod}"}}', "values": f"{images}+0x60"}
        for job, pod, images in (("lensgate", "a", 4), ("lensgate", "b", 20), ("other", "c", 100))
    ]
    case = {
        "interval": "5s",
        "input_series": series,
        "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 24}]}],
    }
    (tmp_path / "rules.yml").write_text("groups: []\n")
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}))
    assert "SUCCESS" in output("promtool", "test", "rules", str(tmp_path / "test.yml"))
