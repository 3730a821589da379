"""The rules and their test cases, as the tests ask for them."""

from dataclasses import dataclass
from typing import Any

import yaml

from .tools import ROOT

__all__ = ["FOLDER", "RUNBOOKS", "TESTS", "Case", "alert_cases", "alerts", "groups", "recordings"]

FOLDER = ROOT / "deploy/prometheus"
RUNBOOKS = ROOT / "docs/runbooks.md"
TESTS = sorted((FOLDER / "tests").glob("*_test.yml"))


@dataclass(frozen=True)
class Case:
    """The expected state of an alert at one time: the severities with which it fires, none if it is silent."""

    alert: str
    severities: tuple[str, ...]


def groups() -> list[dict[str, Any]]:
    return [
        group for file in sorted(FOLDER.glob("rules/*.yml")) for group in yaml.safe_load(file.read_text())["groups"]
    ]


def recordings() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"] if "record" in rule]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def alert_cases() -> list[Case]:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    return [
        Case(check["alertname"], tuple(found["exp_labels"]["severity"] for found in check["exp_alerts"]))
        for test in tests
        for check in test.get("alert_rule_test", ())
    ]
