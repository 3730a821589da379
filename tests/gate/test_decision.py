import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate import Action, Band, Label, Reason, decide
from gate.card import CardBand

BAND = Band(0.4, 0.6)
probabilities = st.floats(0, 1)


@pytest.mark.parametrize(
    ("probability", "label", "action", "reason"),
    [
        (0.0, "no_glasses", "accept", "confident"),
        (0.3999, "no_glasses", "accept", "confident"),
        (0.4, "no_glasses", "discard", "uncertain"),
        (0.4999, "no_glasses", "discard", "uncertain"),
        (0.5, "glasses", "discard", "uncertain"),
        (0.6, "glasses", "discard", "uncertain"),
        (0.6001, "glasses", "accept", "confident"),
        (1.0, "glasses", "accept", "confident"),
    ],
)
def test_the_band_includes_its_edges(probability: float, label: str, action: str, reason: str) -> None:
    found = decide(probability, BAND)
    assert (found.label, found.action, found.reason) == (label, action, reason)


@pytest.mark.parametrize(("expected", "reason"), [("glasses", "confident"), ("no_glasses", "contradicted")])
def test_a_confident_label_is_compared_with_the_requested_one(expected: str, reason: str) -> None:
    assert decide(0.9, BAND, expected=Label(expected)).reason == reason


@given(probability=probabilities, expected=st.sampled_from([None, *Label]))
def test_unfamiliar_comes_before_every_other_reason(probability: float, expected: Label | None) -> None:
    found = decide(probability, BAND, novelty=2.0, novelty_threshold=1.0, expected=expected)
    assert (found.action, found.reason) == (Action.DISCARD, Reason.UNFAMILIAR)


def test_uncertain_comes_before_contradicted() -> None:
    assert decide(0.55, BAND, expected=Label.NO_GLASSES).reason is Reason.UNCERTAIN


@pytest.mark.parametrize(("novelty", "threshold"), [(1.0, 1.0), (5.0, None), (None, 1.0)])
def test_novelty_counts_only_above_a_threshold(novelty: float | None, threshold: float | None) -> None:
    assert decide(0.9, BAND, novelty=novelty, novelty_threshold=threshold).action is Action.ACCEPT


@given(probability=probabilities, low=probabilities, high=probabilities, expected=st.sampled_from([None, *Label]))
def test_accepted_images_are_outside_the_band_and_as_requested(
    probability: float, low: float, high: float, expected: Label | None
) -> None:
    band = Band(min(low, high), max(low, high))
    found = decide(probability, band, expected=expected)
    outside = probability < band.low or probability > band.high
    assert (found.action is Action.ACCEPT) == (outside and expected in (None, found.label))


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.4), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.6)])
def test_invalid_band_is_rejected(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        Band(low, high)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (None, None, Band(0.3, 0.7)),
        (0.0, None, Band(0.0, 0.7)),
        (None, 1.0, Band(0.3, 1.0)),
        (0.0, 0.0, Band(0.0, 0.0)),
    ],
)
def test_an_edge_of_0_replaces_that_of_the_card(low: float | None, high: float | None, expected: Band) -> None:
    assert CardBand(low=0.3, high=0.7).changed(low, high) == expected
