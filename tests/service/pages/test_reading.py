import pytest
from prometheus_client import CollectorRegistry

from gate import Action, Band, Decision, Label, Reason
from gate.card import ReferenceHistogram
from service.metrics.decisions import Metrics
from service.metrics.snapshot import BINS, read_counts, read_stages
from service.pages.snapshot import rebin
from tests.support.models import brightness_model


@pytest.fixture
def metrics() -> Metrics:
    """Instruments as they are when a model has been loaded, its band at edges that are no twentieths."""
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
    counts = read_counts(metrics.registry)
    assert counts.reasons == {
        Reason.CONFIDENT: 2,
        Reason.UNCERTAIN: 1,
        Reason.UNFAMILIAR: 0,
        Reason.CONTRADICTED: 0,
    }
    assert counts.decisions == 3


def test_the_edges_of_the_band_split_no_bin(metrics: Metrics) -> None:
    for score in (0.0, 0.11, 0.124, 0.14, 1.0):
        metrics.observe_decision(score, decision(Reason.CONFIDENT), "1")
    scores = read_counts(metrics.registry).scores
    assert len(scores) == BINS
    assert (scores[0], scores[2], scores[-1]) == (1, 3, 1)
    assert sum(scores) == 5


def test_refusals_and_images_at_fault_are_counted_whatever_their_cause(metrics: Metrics) -> None:
    metrics.observe_shed("images")
    metrics.observe_shed("bytes")
    metrics.observe_image_error("not_square")
    counts = read_counts(metrics.registry)
    assert (counts.shed, counts.errors) == (2, 1)


def test_uploads_of_many_images_are_no_part_of_a_requests_latency(metrics: Metrics) -> None:
    metrics.observe_request("/v1/decisions", 200, 0.01)
    metrics.observe_request("/v2/models/{name}/infer", 200, 0.01)
    metrics.observe_request("/v1/decisions/batch", 200, 9.0)
    metrics.observe_request("/metrics", 200, 0.01)
    assert read_stages(metrics.registry)["request"].count == 2


def test_each_stage_has_its_own_timings(metrics: Metrics) -> None:
    metrics.observe_decode(0.015)
    metrics.observe_batch(4, 0.003)
    stages = read_stages(metrics.registry)
    assert (stages["decode"].count, stages["inference"].count, stages["queue"].count) == (1, 1, 0)
    assert stages["decode"].quantile(1.0) == pytest.approx(0.02)


def test_a_reference_with_other_edges_is_spread_evenly_over_the_bins() -> None:
    shares = rebin(ReferenceHistogram(edges=(0.0, 0.5, 1.0), counts=(30, 10)))
    assert shares[:10] == pytest.approx([0.075] * 10)
    assert shares[10:] == pytest.approx([0.025] * 10)
