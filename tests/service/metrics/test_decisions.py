import pytest
from prometheus_client import CollectorRegistry

from gate import Action, Band, Decision, Label, Reason
from service.metrics.decisions import Metrics
from service.metrics.snapshot import BINS, RecordCounts, ShadowCounts
from service.metrics.totals import read_counts, read_snapshot, read_stages
from tests.support.models import brightness_model


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a loaded model whose band edges fall inside score bins."""
    made = Metrics(CollectorRegistry())
    made.serve(brightness_model().card, Band(0.123, 0.876), provider="fake")
    return made


def decision(reason: Reason) -> Decision:
    action = Action.ACCEPT if reason is Reason.CONFIDENT else Action.DISCARD
    return Decision(Label.GLASSES, action, reason)


def test_decisions_are_counted_by_reason_over_labels_and_versions(metrics: Metrics) -> None:
    metrics.observe_decision(0.9, decision(Reason.CONFIDENT), "1")
    metrics.observe_decision(0.9, decision(Reason.CONFIDENT), "0")
    metrics.observe_decision(0.5, decision(Reason.UNCERTAIN), "1")
    counts = read_counts(metrics.read())
    assert counts.reasons == {
        Reason.CONFIDENT: 2,
        Reason.UNCERTAIN: 1,
        Reason.UNFAMILIAR: 0,
        Reason.CONTRADICTED: 0,
    }
    assert counts.decisions == 3


def test_band_edges_split_no_bin(metrics: Metrics) -> None:
    for score in (0.0, 0.11, 0.124, 0.14, 1.0):
        metrics.observe_decision(score, decision(Reason.CONFIDENT), "1")
    scores = read_counts(metrics.read()).scores
    assert len(scores) == BINS
    assert (scores[0], scores[2], scores[-1]) == (1, 3, 1)
    assert sum(scores) == 5


def test_shed_and_invalid_images_are_counted_over_all_reasons(metrics: Metrics) -> None:
    metrics.observe_shed("images")
    metrics.observe_shed("bytes")
    metrics.observe_image_error("not_square")
    counts = read_counts(metrics.read())
    assert (counts.shed, counts.errors) == (2, 1)


def test_request_latency_excludes_batch_uploads(metrics: Metrics) -> None:
    metrics.observe_request("/v1/decisions", 200, 0.01)
    metrics.observe_request("/v2/models/{name}/infer", 200, 0.01)
    metrics.observe_request("/v1/decisions/batch", 200, 9.0)
    metrics.observe_request("/metrics", 200, 0.01)
    assert read_stages(metrics.read())["request"].count == 2


def test_each_stage_has_its_own_timings(metrics: Metrics) -> None:
    metrics.observe_decode(0.015)
    metrics.observe_batch(4, 0.003)
    stages = read_stages(metrics.read())
    assert (stages["decode"].count, stages["inference"].count, stages["queue"].count) == (1, 1, 0)
    assert stages["decode"].quantile(1.0) == pytest.approx(0.02)


def test_snapshot_of_a_new_service_is_empty() -> None:
    shown = read_snapshot(Metrics(CollectorRegistry()).read())
    assert (shown.counts.decisions, shown.counts.scores) == (0, (0,) * BINS)
    assert (shown.reject_ratio, shown.drift.psi, shown.drift.limit, shown.shadow) == (None, None, None, None)
    assert (shown.records.written, shown.records.dropped) == (0, 0)


def test_snapshot_counts_shadow_and_records(metrics: Metrics) -> None:
    metrics.shadow.serve(brightness_model("2").card)
    metrics.shadow.observe("scored", 8)
    metrics.shadow.observe("dropped", 2)
    metrics.shadow.compare(0.1, label=True, decision=False)
    metrics.records.observe_rows("written", 3)
    shown = read_snapshot(metrics.read())
    assert shown.shadow == ShadowCounts("2", 8, 2, 0, label_disagreements=1, decision_disagreements=0)
    assert shown.records == RecordCounts(written=3, dropped=0, queued=0, is_failing=False)


def test_another_band_restarts_the_score_histogram(metrics: Metrics) -> None:
    metrics.observe_decision(0.5, decision(Reason.UNCERTAIN), "1")
    metrics.serve(brightness_model("2").card, Band(0.2, 0.8), provider="fake")
    assert sum(read_counts(metrics.read()).scores) == 0
    assert read_counts(metrics.read()).decisions == 1
