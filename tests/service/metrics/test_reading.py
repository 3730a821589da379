"""The sum of the metrics of several workers."""

import math
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gate import Action, Band, Decision, Label, Reason
from service.metrics.decisions import Metrics
from service.metrics.drift import DRIFT_MINIMUM, DecisionWindow
from service.metrics.gathering import Gathering
from service.metrics.merging import rule_of
from service.metrics.reading import Reading
from service.metrics.totals import read_snapshot, read_stages
from tests.support.models import brightness_model
from tests.support.servers import Running

BAND = Band(0.4, 0.6)
ACCEPT = Decision(Label.GLASSES, Action.ACCEPT, Reason.CONFIDENT)


def worker(*, decided: int, band: Band = BAND, version: str = "1", queued: int = 0) -> Metrics:
    made = Metrics(CollectorRegistry())
    made.serve(brightness_model(version).card, band, provider="fake")
    made.watch(
        queued_images=lambda: queued, inflight_images=lambda: 0, inflight_bytes=lambda: 0, batch_uploads=lambda: 0
    )
    for _ in range(decided):
        made.observe_decision(0.9, ACCEPT, version)
        made.observe_decode(0.003)
    return made


def passed_on(metrics: Metrics) -> Reading:
    """A reading as another process gets it."""
    return Reading.decode(metrics.read().encode())


def test_counters_histograms_and_gauges_are_added() -> None:
    reading = worker(decided=3, queued=2).read()
    reading.add(passed_on(worker(decided=5, queued=7)), is_alive=True)
    shown = read_snapshot(reading)
    assert (shown.counts.decisions, shown.counts.scores[17], shown.load.queued_images) == (8, 8, 9)
    decode = read_stages(reading)["decode"]
    assert decode.count == 8
    assert decode.total == pytest.approx(0.024)
    text = generate_latest(reading).decode()
    assert 'lensgate_decisions_total{decision="accept",label="glasses",reason="confident",version="1"} 8.0' in text
    assert 'lensgate_decode_seconds_bucket{le="0.002"} 0.0\n' in text
    assert 'lensgate_decode_seconds_bucket{le="0.005"} 8.0\n' in text


def test_dead_worker_contributes_counters_and_no_gauges() -> None:
    reading = worker(decided=3, queued=2).read()
    reading.add(passed_on(worker(decided=5, queued=7)), is_alive=False)
    shown = read_snapshot(reading)
    assert (shown.counts.decisions, shown.load.queued_images) == (8, 2)
    assert sum(reading.window.scores) == 3


def test_a_histogram_over_another_band_is_left_out_and_versions_stay_apart() -> None:
    reading = worker(decided=3).read()
    reading.add(passed_on(worker(decided=5, band=Band(0.33, 0.6), version="2")), is_alive=True)
    shown = read_snapshot(reading)
    assert (shown.counts.decisions, sum(shown.counts.scores)) == (8, 3)
    assert reading.total("lensgate_decisions", version="2") == 5
    assert {found["version"] for found in reading.labels("lensgate_model_info")} == {"1", "2"}
    assert (reading.total("lensgate_band_low"), sum(reading.window.scores)) == (0.33, 3)


def test_reject_ratio_and_drift_are_of_all_recent_decisions() -> None:
    half = DRIFT_MINIMUM // 2
    one, other = DecisionWindow("1", 10, [half, 0], [100, 100]), DecisionWindow("1", 30, [half, 0], [100, 100])
    assert (one.drift().psi, other.drift().psi) == (None, None)
    both = one.plus(other)
    assert both.reject_ratio == 40 / DRIFT_MINIMUM
    assert both.drift() == DecisionWindow("1", 40, [2 * half, 0], [100, 100]).drift()
    assert both.drift().psi is not None
    assert one.plus(DecisionWindow("2", 30, [half, 0], [100, 100])) is one


def test_an_undefined_gauge_does_not_hide_a_known_one() -> None:
    reading, other = worker(decided=1).read(), worker(decided=1).read()
    for part, value in ((reading, math.nan), (other, 0.0)):
        (sample,) = part.families["lensgate_model_load_failed"].samples.values()
        part.replace("lensgate_model_load_failed", sample._replace(value=value))
    reading.add(Reading.decode(other.encode()), is_alive=True)
    assert reading.total("lensgate_model_load_failed") == 0.0


def test_every_gauge_declares_how_it_is_merged(service: Running) -> None:
    gauges = [name for name, family in service.runtime.metrics_of_all.own().families.items() if family.kind == "gauge"]
    assert len(gauges) > 20
    assert {rule_of(name) for name in gauges} <= {"sum", "max", "min", "asked", "window"}


def test_a_return_to_an_earlier_band_does_not_return_the_counts_of_a_predecessor() -> None:
    successor = worker(decided=0)
    gathering = Gathering(successor, workers=Predecessor(worker(decided=5).read().encode()))
    shown = []
    for band in (BAND, Band(0.33, 0.6), BAND):
        successor.serve(brightness_model().card, band, provider="fake")
        distributions = gathering.own().distributions("lensgate_glasses_probability")
        shown.append(sum(distributions[()].counts))
    assert shown == [5, 0, 0]
    assert gathering.own().total("lensgate_decisions") == 5


@dataclass
class Predecessor:
    """The link of a worker whose predecessor has counted."""

    earlier: bytes

    async def collect(self, own: bytes, *, ask: bool) -> None: ...
