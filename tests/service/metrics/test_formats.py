"""OpenMetrics or the text of Prometheus, by what the scraper accepts."""

import pytest
from prometheus_client import CollectorRegistry, Counter

from service.metrics.drift import DecisionWindow
from service.metrics.formats import write_metrics
from service.metrics.reading import Reading

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        pytest.param("", TEXT, id="no header"),
        pytest.param("*/*", TEXT, id="curl"),
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", TEXT, id="a browser"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPENMETRICS,
            id="Prometheus 2",
        ),
        pytest.param(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPENMETRICS,
            id="Prometheus 3 with native histograms",
        ),
        pytest.param("application/openmetrics-text", OPENMETRICS, id="any version"),
        pytest.param('Application/OpenMetrics-Text; Version="1.0.0"', OPENMETRICS, id="quoted, in capitals"),
        pytest.param("application/openmetrics-text; version=0.0.1", TEXT, id="an old version"),
        pytest.param("application/openmetrics-text; version=2.0.0", TEXT, id="a later version"),
        pytest.param("application/openmetrics-text; version=next", TEXT, id="no version"),
        pytest.param("application/openmetrics-text;q=0, text/plain", TEXT, id="refused"),
        pytest.param("application/openmetrics-text;q=0.5, text/plain", TEXT, id="less wanted"),
        pytest.param("application/openmetrics-text;q=half, ;;=,", TEXT, id="malformed"),
    ],
)
def test_format_is_one_that_the_scraper_accepts(accept: str, chosen: str) -> None:
    registry = CollectorRegistry()
    Counter("lensgate_things", "Things", registry=registry).inc()
    body, content_type = write_metrics(Reading.of(registry, DecisionWindow("1", 0, (), ())), accept)
    assert content_type == chosen
    assert body.endswith(b"# EOF\n") == (chosen == OPENMETRICS)
    assert b"lensgate_things_total 1.0" in body
