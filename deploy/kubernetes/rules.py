"""Write monitoring/prometheusrule.yaml from deploy/prometheus/rules, the one place where rules are edited."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus/rules"
TARGET = HERE / "monitoring/prometheusrule.yaml"
HEADER = "# Generated from deploy/prometheus/rules by `python deploy/kubernetes/rules.py`: edit those files.\n"


def render(folder: Path = RULES) -> str:
    """Return the PrometheusRule with the groups of every file, ordered by file name."""
    groups = [group for path in sorted(folder.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    labels = {"app.kubernetes.io/name": "lensgate"}
    document: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "lensgate", "labels": labels},
        "spec": {"groups": groups},
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120)


if __name__ == "__main__":
    TARGET.write_text(render())
