"""Every alert has a description, a runbook, and tests of firing and of silence."""

import re
from functools import cache
from typing import Any

import pytest

from .dashboard import names, queries
from .rules import RUNBOOKS, alert_cases, alerts, recordings
from .tools import ROOT

ALERTS = sorted({rule["alert"] for rule in alerts()})


@cache
def sections() -> dict[str, str]:
    """The runbooks by anchor, as Markdown makes it of a heading."""
    _, *found = re.split(r"^## (.+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    return {title.lower().replace(" ", "-"): text for title, text in zip(found[::2], found[1::2], strict=True)}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']} {rule['labels']['severity']}")
def test_every_alert_has_a_description_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert ROOT / path == RUNBOOKS
    assert anchor == rule["alert"].lower()
    assert anchor in sections()


@pytest.mark.parametrize("alert", ALERTS)
def test_a_runbook_has_effect_diagnosis_and_action(alert: str) -> None:
    text = sections()[alert.lower()]
    for part in ("**Meaning**", "**Impact**", "**Check**", "**Causes**", "**Action**", "**Urgency**"):
        assert part in text, part


def test_a_removed_alert_has_no_runbook() -> None:
    named = {name for name in sections() if name.startswith("lensgate")}
    assert named == {alert.lower() for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_with_each_severity_and_silent(alert: str) -> None:
    cases = [case for case in alert_cases() if case.alert == alert]
    declared = {rule["labels"]["severity"] for rule in alerts() if rule["alert"] == alert}
    assert {severity for case in cases for severity in case.severities} == declared
    assert any(not case.severities for case in cases)


def test_every_recorded_series_that_an_alert_reads_is_recorded() -> None:
    recorded = {rule["record"] for rule in recordings()}
    read = {name for rule in alerts() for name in names(rule["expr"]) if ":" in name}
    assert read
    assert read <= recorded


def test_an_expectation_that_several_clusters_record_stays_one_number() -> None:
    """scalar() of more than one series is NaN, with which no comparison holds."""
    exprs = [rule["expr"] for rule in alerts()] + [query.expr for query in queries()]
    scalars = [found for expr in exprs for found in re.findall(r"scalar\((\w+[:(])", expr)]
    assert scalars
    assert set(scalars) == {"max("}


def test_the_runbooks_look_at_the_routes_of_the_rules() -> None:
    """A gate called by gRPC alone would look as if no request arrived."""
    routes = re.compile(r'lensgate_requests_total\{route=~"([^"]+)"')
    ruled = {route for rule in recordings() for route in routes.findall(rule["expr"])}
    shown = set(routes.findall(RUNBOOKS.read_text()))
    assert shown
    assert shown <= ruled


def test_every_recorded_series_in_a_runbook_is_recorded() -> None:
    named = {name for name in names(RUNBOOKS.read_text().replace('"', "")) if ":" in name}
    assert named
    assert named <= {rule["record"] for rule in recordings()}
