"""The dashboard, the recording rules and the names in their queries, as the tests ask for them."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from .tools import ROOT

__all__ = ["DASHBOARD", "Query", "fill", "names", "panels", "queries", "read_dashboard", "rules", "variables"]

DASHBOARD = ROOT / "deploy/grafana/dashboards/lensgate.json"
# Grafana fills these in itself: at least four scrapes for the first, the range on screen for the last.
_BUILT_IN = {"__rate_interval": "1m", "__interval": "5s", "__range": "5m"}


@dataclass(frozen=True)
class Query:
    panel: str
    ref: str
    expr: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel} {self.ref}"


def read_dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return board


def panels() -> list[dict[str, Any]]:
    """Every panel that shows something; a row only groups them."""
    return [panel for panel in read_dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(panel["title"], target["refId"], target["expr"], target["legendFormat"], target["instant"])
        for panel in panels()
        for target in panel["targets"]
    ]


def variables() -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in read_dashboard()["templating"]["list"]}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deploy/prometheus/rules/lensgate.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def fill(expr: str) -> str:
    """A query as Grafana sends it when every choice stands at All."""
    values = {name: variable["allValue"] for name, variable in variables().items() if "allValue" in variable}
    return re.sub(r"\$(?:\{(\w+)}|(\w+))", lambda match: (_BUILT_IN | values)[match[1] or match[2]], expr)


def names(expr: str) -> set[str]:
    """The metrics and recorded series that an expression names."""
    words = re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r'"[^"]*"', "", expr))
    return {word for word in words if word.startswith("lensgate_") or ":lensgate_" in word}
