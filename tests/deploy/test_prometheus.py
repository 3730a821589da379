import re

import yaml

from .dashboard import rules
from .tools import ROOT, output

CONFIG = "deploy/prometheus/prometheus.yml"
RULES = "deploy/prometheus/rules/lensgate.yml"
RULE_TESTS = "deploy/prometheus/tests/lensgate_test.yml"


def test_the_configuration_is_valid() -> None:
    assert "1 rule files found" in output("promtool", "check", "config", CONFIG)


def test_the_rules_are_valid() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in output("promtool", "check", "rules", RULES)


def test_the_rules_compute_what_they_should() -> None:
    assert "SUCCESS" in output("promtool", "test", "rules", RULE_TESTS)


def test_every_rule_is_tested() -> None:
    cases = yaml.safe_load((ROOT / RULE_TESTS).read_text())["tests"]
    asked = " ".join(test["expr"] for case in cases for test in case["promql_expr_test"])
    assert {rule["record"] for rule in rules()} <= set(re.findall(r"\w+:\w+:\w+", asked))


def test_a_rule_is_named_by_level_metric_and_operation() -> None:
    for rule in rules():
        level, metric, operation = rule["record"].split(":")
        assert metric.startswith("lensgate_")
        assert operation.endswith("rate5m")
        kept = {label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(", ")}
        assert set(level.split("_")) == (kept - {"le"}) | rule.get("labels", {}).keys()


def test_the_gate_is_scraped_every_five_seconds() -> None:
    (job,) = yaml.safe_load((ROOT / CONFIG).read_text())["scrape_configs"]
    assert job["job_name"] == "lensgate"
    assert job["static_configs"] == [{"targets": ["gate:8000"]}]
    assert yaml.safe_load((ROOT / CONFIG).read_text())["global"]["scrape_interval"] == "5s"
