"""A real Prometheus scrapes a real server, and answers what the dashboard will ask."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .dashboard import Query, fill, names, queries, rules, variables
from .dockerfile import lineage, read_stages
from .prometheus import Prometheus, project_config, running_prometheus
from .tools import ROOT


class LiveService(Protocol):
    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Scraped:
    prometheus: Prometheus
    decisions: list[str]


@pytest.fixture(scope="module")
def scraped(live_service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A Prometheus that saw the service before and after some decisions, and those decisions."""
    config = project_config(urlsplit(live_service.url).netloc)
    with running_prometheus(config, tmp_path_factory.mktemp("prometheus")) as prometheus:
        (before,) = prometheus.wait_for("sum(lensgate_decisions_total)")
        decisions = decide(live_service.url)
        after = before.value + len(decisions)
        prometheus.wait_for("sum(lensgate_decisions_total)", lambda found: bool(found) and found[0].value >= after)
        yield Scraped(prometheus, decisions)


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


def test_every_metric_that_is_queried_is_exposed(live_service: LiveService) -> None:
    asked = [query.expr for query in queries()] + [rule["expr"] for rule in rules()]
    asked += [variable["definition"] for variable in variables().values() if "definition" in variable]
    queried = {name for expr in asked for name in names(expr) if ":" not in name}
    assert queried
    assert queried - exposed(live_service.url) == set()


def test_prometheus_answers_the_reject_rate(scraped: Scraped) -> None:
    expected = scraped.decisions.count("discard") / len(scraped.decisions)
    assert expected > 0
    # `rate` extrapolates a counter that stood above 0 a little further than one that began there, the less so the
    # longer it has watched: hence a tolerance, and time to get within it.
    scraped.prometheus.wait_for(
        'job:lensgate_discards_per_decisions:ratio_rate5m{job="lensgate"}',
        lambda found: len(found) == 1 and found[0].value == pytest.approx(expected, abs=0.03),
        timeout=60,
    )


@pytest.mark.parametrize("query", queries(), ids=str)
def test_prometheus_answers_what_the_dashboard_asks(scraped: Scraped, query: Query) -> None:
    series = scraped.prometheus.wait_for(fill(query.expr), instant=query.instant)
    for label in re.findall(r"{{(\w+)}}", query.legend):
        assert any(found.labels.get(label) for found in series), f"no series has the label {label} of the legend"


@pytest.mark.parametrize("name", ["job", "version"])
def test_prometheus_offers_the_choices_of_a_variable(scraped: Scraped, name: str) -> None:
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variables()[name]["definition"])
    assert match is not None
    values = scraped.prometheus.wait_for(f"count by ({match[2]}) ({fill(match[1])})")
    assert all(value.labels[match[2]] for value in values)


def test_the_health_check_of_the_image_tells_ready_from_gone(live_service: LiveService) -> None:
    check = next(
        found
        for stage in lineage(read_stages(ROOT / "deploy/Dockerfile"), "cpu")
        if (found := stage.last("HEALTHCHECK")) is not None
    ).exec_form()
    assert check is not None
    assert healthy(check, port=urlsplit(live_service.url).port)
    assert not healthy(check, port=1)


def healthy(check: list[str], *, port: int | None) -> bool:
    """Runs a health check as the container would, behind a proxy that answers nobody."""
    env = os.environ | {"LENSGATE_PORT": str(port), "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    ran = subprocess.run([sys.executable, *check[1:]], env=env, capture_output=True, timeout=30, check=False)
    return ran.returncode == 0
