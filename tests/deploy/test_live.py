"""A real Prometheus scrapes a real server, and answers the queries of the dashboards."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import running_process

from .dashboard import BOARDS, Query, fill, names, queries, variables
from .prometheus import Prometheus, project_config, running_prometheus
from .rules import RUNBOOKS, alerts, recordings
from .tools import ROOT


@dataclass(frozen=True)
class Scraped:
    """`then` is Prometheus as it was when all was seen: rates do not sink while tests go on."""

    prometheus: Prometheus
    then: Prometheus
    url: str
    decisions: list[str]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A service with all measured features enabled, and a Prometheus that scraped its decisions.

    Two versions decided one after the other, then the first became the shadow; all decisions were recorded.
    """
    folder = tmp_path_factory.mktemp("live")
    shutil.copytree(ROOT / "models", folder / "models")
    current = folder / "models/glasses/CURRENT"
    served = current.read_text()
    current.write_text("1\n")
    settings = {"MODELS": folder / "models", "SHADOW_VERSION": 1, "RECORDS_URL": f"sqlite:///{folder}/records.db"}
    settings["TRACES_ENDPOINT"] = "http://127.0.0.1:9/v1/traces"  # Traces that no collector gets are sampled too.
    environment = os.environ | {f"LENSGATE_{name}": str(value) for name, value in settings.items()}
    with (
        running_process(folder / "service.log", environment) as service,
        running_prometheus(project_config(urlsplit(service.url).netloc), folder) as prometheus,
    ):
        prometheus.wait_for('sum(lensgate_decisions_total{version="1"}) == 0')
        decisions = decide(service.url)
        current.write_text(served)
        prometheus.wait_for('sum(lensgate_decisions_total{version!="1"}) == 0')
        decisions += decide(service.url)
        prometheus.wait_for(f"sum(lensgate_decisions_total) == {len(decisions)}")
        for seen in (
            "count(job_version:lensgate_discards_per_decisions:ratio_rate5m) == 2",
            "job:lensgate_failed_per_requests:ratio_rate3d",
            "job:lensgate_slow_per_requests:ratio_rate3d",
            'increase(lensgate_shadow_images_total{result="scored"}[1m]) > 0',
            'increase(lensgate_records_total{result="written"}[1m]) > 0',
        ):
            prometheus.wait_for(seen)
        yield Scraped(prometheus, prometheus.as_of_now(), service.url, decisions)


def decide(url: str) -> list[str]:
    """Decides each sample under every expectation, so that whatever the model says something is discarded."""
    samples = sorted((ROOT / "samples").glob("*.png"))
    assert samples, "samples/ holds no PNG"
    decisions = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for sample in samples:
            for expected in ({}, {"expected": "glasses"}, {"expected": "no_glasses"}):
                answer = client.post("/v1/decisions", content=sample.read_bytes(), params=expected)
                assert answer.status_code == 200, answer.text
                decisions.append(str(answer.json()["decision"]))
    return decisions


def exposed(url: str) -> set[str]:
    """Every name under which the service's /metrics holds a sample."""
    text = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_every_metric_that_is_queried_is_exposed(scraped: Scraped) -> None:
    asked = [query.expr for query in queries()] + [rule["expr"] for rule in (*alerts(), *recordings())]
    asked += [variables(board)[name]["definition"] for board in BOARDS for name in ("job", "version")]
    queried = {name for expr in asked for name in names(expr) if ":" not in name}
    assert queried
    assert queried - exposed(scraped.url) == set()


def test_every_metric_in_a_runbook_is_exposed(scraped: Scraped) -> None:
    named = names(RUNBOOKS.read_text().replace('"', ""))
    assert {name for name in named if ":" not in name} - exposed(scraped.url) == set()


@pytest.mark.parametrize("expr", sorted(set(re.findall(r"`([^`]*lensgate_[^`]*)`", RUNBOOKS.read_text()))))
def test_prometheus_accepts_every_query_of_the_runbooks(scraped: Scraped, expr: str) -> None:
    scraped.then.query(expr)


def test_every_panel_of_durations_leads_to_traces(scraped: Scraped) -> None:
    linked = [query for query in queries() if query.exemplar]
    assert {query.panel for query in linked} == {"Request", "Inference", "Decode", "Queue wait"}
    for query in linked:
        found = scraped.then.exemplars(fill(query.expr, query.board))
        assert found, query
        assert all(re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["trace_id"]) for exemplar in found)


def test_the_latency_objective_is_an_edge_of_the_histogram(scraped: Scraped) -> None:
    asked = {edge for rule in recordings() for edge in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert asked
    for edge in asked:
        assert scraped.then.query(f'lensgate_request_duration_seconds_bucket{{route="/v1/decisions", le="{edge}"}}')


def test_every_label_that_a_rule_asks_for_is_one_that_the_service_gives(scraped: Scraped) -> None:
    exprs = [rule["expr"] for rule in (*alerts(), *recordings())]
    asked = {found for expr in exprs for found in re.findall(r"(lensgate_\w+)\{(\w[^}]*)}", expr)}
    assert asked
    assert [f"{name}{{{labels}}}" for name, labels in asked if not scraped.then.query(f"{name}{{{labels}}}")] == []


def test_no_receiver_is_notified_in_normal_operation(scraped: Scraped) -> None:
    """Of the decisions half are discarded on purpose, and they are too few to say so."""
    assert scraped.prometheus.alerts("LensgateRejectRateHigh") == []
    assert scraped.prometheus.alerts("LensgateDown") == []


def test_prometheus_answers_the_reject_rate(scraped: Scraped) -> None:
    expected = scraped.decisions.count("discard") / len(scraped.decisions)
    assert expected > 0
    # `rate` extrapolates a counter that stood above 0 a little further than one that began there, the less so the
    # longer it has watched: hence a tolerance, and time to get within it.
    scraped.prometheus.wait_for(
        'job:lensgate_discards_per_decisions:ratio_rate5m{job="lensgate"}',
        lambda found: len(found) == 1 and found[0].value == pytest.approx(expected, abs=0.03),
    )


@pytest.mark.parametrize("query", queries(), ids=str)
def test_prometheus_answers_the_queries_of_the_dashboards(scraped: Scraped, query: Query) -> None:
    ask = scraped.then.query if query.instant else scraped.then.query_range
    # The evidence is NaN until it is read from the records, up to 10 s after a change of version.
    series = ask(fill(query.expr, query.board).replace(" >= 0)", ")"))
    assert series
    for label in re.findall(r"{{(\w+)}}", query.legend):
        assert any(found.labels.get(label) for found in series), f"no series has the label {label} of the legend"


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", ["job", "version"])
def test_prometheus_offers_the_choices_of_a_variable(scraped: Scraped, board: str, name: str) -> None:
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variables(board)[name]["definition"])
    assert match is not None
    values = scraped.then.query(f"count by ({match[2]}) ({fill(match[1], board)})")
    assert len(values) == {"job": 1, "version": 2}[name]
    assert all(value.labels[match[2]] for value in values)


def test_two_versions_are_compared(scraped: Scraped) -> None:
    (query,) = (query for query in queries() if str(query) == "models: Reject rate by version A")
    rates = {series.labels["version"]: series.value for series in scraped.then.query(fill(query.expr, query.board))}
    assert len(rates) == 2
    assert all(0 < rate < 1 for rate in rates.values())
