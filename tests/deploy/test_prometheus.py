import os
import re
from pathlib import Path

import pytest
import yaml

from gate import ModelStore

from .rules import FOLDER, TESTS, groups, recordings
from .tools import ROOT, output

CONFIG = FOLDER / "prometheus.yml"


def test_the_configuration_is_valid() -> None:
    said = output("promtool", "check", "config", str(CONFIG))
    assert f"{len(list(FOLDER.glob('rules/*.yml')))} rule files found" in said


def test_the_configuration_of_alertmanager_is_valid() -> None:
    assert "2 receivers" in output("amtool", "check-config", str(FOLDER / "alertmanager.yml"))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("rules/*.yml")), ids=lambda file: file.stem)
def test_the_rules_are_valid(file: Path) -> None:
    count = sum(len(group["rules"]) for group in yaml.safe_load(file.read_text())["groups"])
    assert f"SUCCESS: {count} rules found" in output("promtool", "check", "rules", "--lint-fatal", str(file))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_pass_their_unit_tests(file: Path) -> None:
    # A fifth of the time went into the collection of garbage.
    assert "SUCCESS" in output("promtool", "test", "rules", str(file), env={**os.environ, "GOGC": "800"})


def test_every_recorded_series_is_tested() -> None:
    cases = [case for file in TESTS for case in yaml.safe_load(file.read_text())["tests"]]
    asked = " ".join(test["expr"] for case in cases for test in case.get("promql_expr_test", ()))
    assert {rule["record"] for rule in recordings()} <= set(re.findall(r"\w+:\w+:\w+", asked))


def test_a_recorded_series_is_named_by_level_metric_and_operation() -> None:
    for rule in recordings():
        level, metric, operation = rule["record"].split(":")
        assert metric.startswith("lensgate_"), rule
        if level == "all":
            assert re.fullmatch(r"vector\([\d.]+\)", rule["expr"]), "a constant belongs to every job"
            continue
        assert re.search(r"(rate|increase)\d+[mhd]$", operation), rule
        kept = {label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(", ")}
        # Series computed only from recorded series have the labels of their level.
        kept |= {label for inner in re.findall(r"(\w+):lensgate_", rule["expr"]) for label in inner.split("_")}
        assert "job" in level.split("_"), rule
        assert set(level.split("_")) <= kept | rule.get("labels", {}).keys(), rule


def test_the_windows_of_a_series_are_those_of_its_name() -> None:
    for rule in recordings():
        if window := re.search(r"(?:rate|increase)(\d+[mhd])$", rule["record"]):
            assert set(re.findall(r"\[(\w+)]", rule["expr"])) <= {window[1]}, rule


def test_the_expectations_state_the_figures_of_the_current_model() -> None:
    card = ModelStore(ROOT / "models").load().card
    text = " ".join((FOLDER / "rules/expectations.yml").read_text().replace("# ", "").split())
    accepted, coverage = card.band.accepted, card.band.coverage
    assert accepted and coverage
    certifying = round(accepted / coverage)
    assert f"about {1 - coverage:.1%} of".replace("%", " %") in text
    assert f"({certifying - accepted} of {certifying:,})" in text
    test = card.metrics["faces"]
    assert test.coverage
    discarded = round(test.images * (1 - test.coverage.value))
    assert f"discards {discarded} of {test.images} faces of unseen generators" in text


def test_no_two_groups_have_the_same_name() -> None:
    named = [group["name"] for group in groups()]
    assert sorted(set(named)) == sorted(named)


def test_the_gate_is_scraped_every_five_seconds() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "lensgate"
    (target,) = (target for static in job["static_configs"] for target in static["targets"])
    assert target.partition(":")[0] == "gate"
    assert config["global"]["scrape_interval"] == "5s"


def test_alerts_go_to_the_alertmanager_that_compose_starts() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    ((static,),) = (found["static_configs"] for found in config["alerting"]["alertmanagers"])
    ((host, port),) = (target.split(":") for target in static["targets"])
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][host]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "./deploy/prometheus/alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro,z" in service["volumes"]
