"""The format of `/metrics` by the `Accept` of the scraper (RFC 9110, 12.5.1): OpenMetrics, or the text of Prometheus.

prometheus_client chooses one too, but fails with quoted or unknown versions, names versions that it does not write, and
ignores weights. All names here are valid in any escaping, so that parameter is ignored.
"""

from prometheus_client import generate_latest as write_text
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as write_openmetrics

from service.accept import Accepted, read_accept
from service.metrics.reading import Reading

_OPENMETRICS = {"application/openmetrics-text": {"", "1.0.0"}}
_TEXT = {"text/plain": {"", "0.0.4", "1.0.0"}, "text/*": {""}, "*/*": {""}}


def write_metrics(reading: Reading, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their Content-Type: OpenMetrics, which has exemplars, unless the other is preferred."""
    accepted = list(read_accept(accept))
    openmetrics = _weight(accepted, _OPENMETRICS)
    if openmetrics and openmetrics >= _weight(accepted, _TEXT):
        return write_openmetrics(reading), CONTENT_TYPE_OPENMETRICS  # type: ignore[no-untyped-call]
    return write_text(reading), CONTENT_TYPE_PLAIN_0_0_4


def _weight(accepted: list[Accepted], versions: dict[str, set[str]]) -> float:
    return max((each.weight for each in accepted if each.version in versions.get(each.name, ())), default=0.0)
