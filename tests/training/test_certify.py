import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import BinaryClassificationController, BinaryRisk, abstention_rate, control_fwer
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom

from gate import Band
from training.errors import DataError
from training.evaluation.certify import (
    COVERAGES,
    RawBand,
    RiskCertificate,
    certify,
    describe,
    probability_band,
    propose_bands,
    risk_coverage,
    selective_risk,
    upper_bound,
)

Floats = NDArray[np.float64]

POINT = RawBand(low=0.0, high=0.0)
TARGET = 0.05
DELTA = 0.05
SETS = 500


def symmetric(edge: float) -> RawBand:
    return RawBand(low=-edge, high=edge)


def sure(images: int, *, missed: int = 0, false: int = 0) -> tuple[Floats, Floats]:
    """Images of logit 4 and -4 in turn, so many of which are glasses overlooked or seen where there are none."""
    logits = np.where(np.arange(images) % 2, 4.0, -4.0)
    labels = (logits > 0).astype(float)
    labels[np.flatnonzero(logits < 0)[:missed]] = 1.0
    labels[np.flatnonzero(logits > 0)[:false]] = 0.0
    return logits, labels


@dataclass(frozen=True)
class Population:
    """Images with logits on a grid, so that every band's true risk is a finite sum.

    `share` of each logit and its probability of `glasses`, all `[K]`.
    """

    logits: Floats
    share: Floats
    glasses: Floats

    def draw(self, images: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        drawn = random.choice(len(self.logits), images, p=self.share)
        return self.logits[drawn], (random.random(images) < self.glasses[drawn]).astype(float)

    def risk(self, band: RawBand, *, cost_ratio: float = 1.0) -> float:
        cost = np.where(self.logits >= 0, cost_ratio * (1 - self.glasses), self.glasses)
        kept = self.share * band.accepts(self.logits)
        return float(kept @ cost / kept.sum())


def overconfident(*, noise: float) -> Population:
    """Logits three times too sure, of which a share `noise` of the labels is wrong however sure they are."""
    logits = np.arange(-400, 401, dtype=np.float64) * 0.03
    share = np.exp(-((np.abs(logits) - 6.0) ** 2) / 18.0)
    return Population(logits, share / share.sum(), noise + (1 - 2 * noise) * expit(logits / 1.5))


def allowed() -> int:
    """The count that a guarantee broken with probability `DELTA` exceeds in one of a thousand runs of this test."""
    return int(binom.ppf(0.999, SETS, DELTA))


def certified_band(logits: Floats, labels: Floats, bands: tuple[RawBand, ...]) -> RawBand | None:
    return certify(logits, labels, bands, target_risk=TARGET, confidence=1 - DELTA).band


def broken_promises(
    population: Population,
    choose: Callable[[Floats, Floats, tuple[RawBand, ...]], RawBand | None],
    *,
    target: float = TARGET,
    cost_ratio: float = 1.0,
    coverages: tuple[float, ...] = COVERAGES[::10],
) -> int:
    """How many of `SETS` calibration sets of 1,000 images lead to a band whose true risk is above `target`."""
    random = np.random.default_rng(7)
    bands = propose_bands(population.draw(1_000, random)[0], cost_ratio=cost_ratio, coverages=coverages)
    risks = {band: population.risk(band, cost_ratio=cost_ratio) for band in bands}
    assert max(risks.values()) > target, "the population must tempt"
    chosen = [choose(*population.draw(1_000, random), bands) for _ in range(SETS)]
    return sum(band is not None and risks[band] > target for band in chosen)


def mapie_controller(bands: tuple[RawBand, ...]) -> BinaryClassificationController:
    # MAPIE keeps a score on the threshold, a band discards it.
    thresholds = np.nextafter([float(expit(band.high)) for band in bands], 1.0)
    return BinaryClassificationController(
        predict_function=lambda confidence: np.column_stack([1 - confidence, confidence]),
        risk=BinaryRisk(lambda right, kept: right != kept, lambda _, kept: kept == 1, higher_is_better=False),
        target_level=TARGET,
        confidence_level=1 - DELTA,
        best_predict_param_choice=abstention_rate,
        list_predict_params=thresholds[::-1],
        fwer_method="fixed_sequence",
    )


@pytest.mark.parametrize(("errors", "images"), [(0, 299), (1, 473), (2, 628)])
def test_one_per_cent_takes_the_number_of_images_in_the_tables(errors: int, images: int) -> None:
    assert certify(*sure(images, missed=errors), [POINT]).certified
    assert not certify(*sure(images - 1, missed=errors), [POINT]).certified


@given(errors=st.integers(0, 30), more=st.integers(0, 2_000), target=st.floats(0.001, 0.5))
def test_the_bound_meets_the_target_where_the_binomial_test_rejects(errors: int, more: int, target: float) -> None:
    p_value = binom.cdf(errors, errors + more, target)
    if not math.isclose(p_value, DELTA, rel_tol=1e-6):
        assert (upper_bound(errors, errors + more, confidence=1 - DELTA) <= target) == (p_value <= DELTA)


def test_only_errors_give_no_bound() -> None:
    assert (upper_bound(3, 3, confidence=0.95), upper_bound(0, 0, confidence=0.95)) == (1.0, 1.0)


def test_an_edge_is_discarded_as_the_gate_discards_it() -> None:
    raw, band = RawBand(low=-1.0, high=2.0), Band(float(expit(-1.0)), float(expit(2.0)))
    logits = np.array([np.nextafter(-1.0, -9.0), -1.0, 0.0, 2.0, np.nextafter(2.0, 9.0)])
    assert raw.accepts(logits).tolist() == [True, False, False, False, True]
    assert [float(expit(one)) not in band for one in logits[1:4]] == raw.accepts(logits)[1:4].tolist()


def test_a_band_out_of_order_is_none() -> None:
    with pytest.raises(ValueError, match="low <= high"):
        RawBand(low=1.0, high=-1.0)


def test_probabilities_are_raw_logits_times_the_temperature() -> None:
    found = RawBand.from_probability(Band(0.4, 0.6), 2.0)
    assert (found.low, found.high) == pytest.approx((2 * math.log(0.4 / 0.6), 2 * math.log(0.6 / 0.4)))


def test_a_band_of_everything_accepts_nothing() -> None:
    found = RawBand.from_probability(Band(0.0, 1.0), 0.25)
    assert not found.accepts(np.array([-1e300, 0.0, 1e300])).any()
    assert RawBand.model_validate_json(found.model_dump_json()) == found
    assert probability_band(found, 0.25) == Band(0.0, 1.0)


@pytest.mark.parametrize(
    ("raw", "temperature", "band"),
    [
        (POINT, 3.0, Band(0.5, 0.5)),
        (symmetric(2.0), 1.0, Band(0.1192, 0.8808)),
        (symmetric(2.0), 2.0, Band(0.2689, 0.7311)),
        (RawBand(low=0.0, high=1.0), 1.0, Band(0.5, 0.7311)),
        # Four decimals would discard a tenth more of the doubt here, and more digits are kept instead.
        (RawBand(low=-8.0, high=9.0), 1.0, Band(0.000335, 0.999877)),
        (symmetric(40.0), 1.0, Band(0.0, 1.0)),
    ],
)
def test_a_cards_band_reads_well_and_is_rounded_outwards(raw: RawBand, temperature: float, band: Band) -> None:
    assert probability_band(raw, temperature) == band


@given(
    below=st.floats(0.0, 60.0),
    above=st.floats(0.0, 60.0),
    place=st.floats(0.0, 1.0),
    temperature=st.floats(0.25, 20.0),
)
def test_what_is_certified_to_be_discarded_is_discarded(
    below: float, above: float, place: float, temperature: float
) -> None:
    band = probability_band(RawBand(low=-below, high=above), temperature)
    inside = min(above, -below + place * (above + below))
    for raw in (-below, inside, above):
        assert float(expit(raw / temperature)) in band
        assert float(expit(np.float32(raw) / np.float32(temperature))) in band


def test_candidates_go_from_wide_to_full_coverage_around_0() -> None:
    logits = np.random.default_rng(0).permutation(np.arange(-1_000, 1_000) + 0.25)
    bands = propose_bands(logits)
    assert len(bands) == len(COVERAGES) == 201
    assert [band.accepts(logits).mean() for band in bands] == pytest.approx(COVERAGES)
    assert all(band.low == -band.high for band in bands)
    assert (bands[0], bands[-1]) == (symmetric(199.75), POINT)
    assert propose_bands(logits, coverages=(1.0, 0.9)) == propose_bands(logits, coverages=(0.9, 1.0))


def test_candidates_that_are_the_same_are_tested_once() -> None:
    logits = np.array([-3.0, -1.0, 1.0, 3.0, 4.0])
    assert propose_bands(logits, coverages=(0.6, 0.8, 0.8, 1.0)) == (symmetric(1.0), POINT)


def test_between_two_images_the_edge_is_interpolated() -> None:
    bands = propose_bands(np.array([-3.0, -1.0, 2.0, 3.0, 4.0]), coverages=(0.7, 0.9))
    assert bands == (symmetric(1.5), symmetric(0.5))


def test_a_costly_wrong_glasses_moves_the_band_and_keeps_0_inside() -> None:
    logits = np.linspace(-10.0, 10.0, 2_001)
    bands = propose_bands(logits, cost_ratio=5.0)
    assert bands[0].accepts(logits).mean() == pytest.approx(0.8, abs=1e-3)
    assert bands[0].high + bands[0].low == pytest.approx(math.log(5.0))
    assert all(band.low <= 0 <= band.high for band in bands)
    assert bands[-1] == POINT
    mirrored = propose_bands(-logits, cost_ratio=0.2)
    assert (-mirrored[0].high, -mirrored[0].low) == pytest.approx((bands[0].low, bands[0].high))


@pytest.mark.parametrize("logits", [[], [1.0, math.nan], [math.inf]])
def test_bands_are_proposed_from_numbers_only(logits: list[float]) -> None:
    with pytest.raises(DataError, match="finite"):
        propose_bands(np.array(logits))


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_a_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(ValueError, match="coverages"):
        propose_bands(np.array([1.0]), coverages=(coverage,))


def test_the_sequence_ends_at_the_first_band_that_fails() -> None:
    # Of 400 images 100 are unsure: 30 errors at 1 end what 300 sure ones began, and the point band is never looked at.
    logits, labels = sure(400)
    logits[300:] /= 4
    labels[300:330] = 1 - labels[300:330]
    found = certify(logits, labels, [symmetric(3.0), symmetric(2.0), symmetric(0.5), POINT])
    assert [(row.accepted, row.errors, row.certified) for row in found.tested] == [
        (300, 0, True),
        (300, 0, True),
        (400, 30, False),
    ]
    assert (found.certified, found.band) == (True, symmetric(2.0))
    assert (found.images, found.accepted, found.errors, found.risk) == (400, 300, 0, 0.0)
    assert found.risk_bound == found.tested[1].bound == pytest.approx(1 - 0.05 ** (1 / 300))
    assert found.coverage.value == 0.75
    assert found.coverage.low < 0.75 < found.coverage.high
    assert found.images_needed is None


def test_a_start_that_fails_is_the_end_even_where_a_later_band_would_not_have() -> None:
    logits, labels = sure(500, missed=1)
    logits[1:100] /= 8
    found = certify(logits, labels, [symmetric(1.0), POINT])
    assert (found.certified, found.band, len(found.tested)) == (False, None, 1)
    assert (found.accepted, found.errors, found.risk_bound > 0.01) == (401, 1, True)
    assert certify(logits, labels, [POINT]).certified


@pytest.mark.parametrize("bands", [[], [POINT, symmetric(1.0)], [symmetric(1.0), RawBand(low=-0.5, high=2.0)]])
def test_bands_must_be_in_order(bands: list[RawBand]) -> None:
    with pytest.raises(ValueError, match="widest to the narrowest"):
        certify(*sure(10), bands)


@pytest.mark.parametrize(
    ("confidence", "target", "ratio", "fault"),
    [(1.0, 0.01, 1.0, "confidence"), (0.95, 0.0, 1.0, "target_risk"), (0.95, 0.01, 0.0, "cost_ratio")],
)
def test_a_promise_that_makes_no_sense_is_refused(confidence: float, target: float, ratio: float, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        certify(*sure(10), [POINT], confidence=confidence, target_risk=target, cost_ratio=ratio)


@pytest.mark.parametrize(
    ("logits", "labels", "fault"),
    [([], [], "no labelled images"), ([1.0, -1.0], [0.0, 0.0], "labelled glasses"), ([1.0], [1.0, 0.0], "one number")],
)
def test_labels_that_cannot_certify_say_why(logits: list[float], labels: list[float], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        certify(np.array(logits), np.array(labels), [POINT])


def test_a_costly_error_counts_by_its_cost_and_pays_for_two_bounds() -> None:
    found = certify(*sure(1_000, missed=3, false=2), [POINT], cost_ratio=5.0, target_risk=0.05)
    (row,) = found.tested
    assert (row.errors, row.false_glasses, row.risk) == (5, 2, (3 + 5 * 2) / 1_000)
    # 0.00874... and 0.00720...: the upper ends of the two-sided 95 % intervals of 3 and 2 of 1,000.
    assert row.bound == pytest.approx(0.0087417 + 5 * 0.0072063, abs=2e-6)
    assert found.certified
    assert not certify(*sure(1_000, missed=2, false=3), [POINT], cost_ratio=5.0, target_risk=0.05).certified


@pytest.mark.parametrize(
    ("images", "missed", "needed"),
    # Without an error it takes 299 accepted; 1 of 472 is short of 473 by one; 5 of 100 will never be 1 %.
    [(100, 0, 299), (298, 0, 299), (472, 1, 473), (100, 5, None)],
)
def test_where_nothing_is_certified_the_images_it_would_take_are_given(
    images: int, missed: int, needed: int | None
) -> None:
    found = certify(*sure(images, missed=missed), [POINT])
    assert (found.certified, found.images_needed) == (False, needed)


def test_images_needed_counts_the_discarded_too() -> None:
    logits, labels = sure(100)
    logits[:20] /= 8
    assert certify(logits, labels, [symmetric(1.0), POINT]).images_needed == math.ceil(299 / 0.8)


def test_images_needed_looks_past_a_hopeless_start() -> None:
    logits, labels = sure(100, missed=1)
    logits[2:60] /= 8
    found = certify(logits, labels, [symmetric(1.0), POINT], target_risk=0.015)
    assert found.risk == 1 / 42
    assert found.images_needed == certify(logits, labels, [POINT], target_risk=0.015).images_needed


def test_where_all_is_discarded_there_is_no_risk_and_no_number_helps() -> None:
    found = certify(*sure(10), [symmetric(5.0)])
    assert (found.accepted, found.risk, found.risk_bound, found.images_needed) == (0, None, 1.0, None)
    assert selective_risk(*sure(10), symmetric(5.0)).risk is None


def test_a_certificate_survives_its_file() -> None:
    found = certify(*sure(300), [symmetric(1.0), POINT])
    assert RiskCertificate.model_validate_json(found.model_dump_json()) == found


def test_a_certificate_says_what_it_promises() -> None:
    logits, labels = sure(515, missed=1)
    logits[1:11] /= 8
    found = certify(logits, labels, [symmetric(2.0)])
    assert describe(found, temperature=1.0) == (
        "With confidence 0.95 at most 1 % of the accepted images are labelled wrongly: "
        "band [0.1192, 0.8808] accepts 98.1 % (505 of 515, 1 wrong)."
    )
    assert "the band of raw logits [-2.00, 2.00] accepts" in describe(found)
    costly = certify(*sure(1_000), [POINT], target_risk=0.05, cost_ratio=5.0)
    assert "at most a mean cost of 0.05, a wrong glasses costing 5: " in describe(costly)


def test_a_failed_certificate_names_the_number_of_images_needed() -> None:
    assert describe(certify(*sure(472, missed=1), [POINT])) == (
        "No band can be certified at 1 % with confidence 0.95: the bound of the widest band (472 of 472, 1 wrong) is "
        "1 %, and certifying it needs about 473 new labelled images; the paper's band is used."
    )
    assert "more images would not help" in describe(certify(*sure(100, missed=5), [POINT]))


def test_the_papers_band_has_its_coverage_and_risk() -> None:
    logits, labels = np.array([-3.0, -0.1, 0.1, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    found = selective_risk(logits, labels, RawBand.from_probability(Band(), 1.0))
    assert (found.accepted, found.errors, found.coverage.value) == (3, 1, 0.6)
    assert found.risk is not None
    assert (found.risk.value, found.risk.low, found.risk.high) == pytest.approx((1 / 3, 0.0084, 0.9057), abs=1e-4)


def test_risk_and_coverage_are_those_worked_out_by_hand_with_ties_together() -> None:
    found = risk_coverage(np.array([3.0, -2.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert found.coverage == (0.25, 0.75, 1.0)
    assert found.risk == pytest.approx((0.0, 1 / 3, 0.5))
    assert found.area == pytest.approx(0.5 * 1 / 3 + 0.25 * 0.5)


def test_the_promise_is_kept_as_often_as_it_says() -> None:
    assert broken_promises(overconfident(noise=0.01), certified_band) <= allowed()


def test_the_promise_is_kept_where_every_candidate_breaks_it_by_a_hair() -> None:
    hair = 1e-9
    flat = Population(np.array([-4.0, 4.0]), np.array([0.5, 0.5]), np.array([TARGET + hair, 1 - TARGET - hair]))
    assert 0 < broken_promises(flat, certified_band, coverages=(1.0,)) <= allowed()


def test_the_promise_about_costs_is_kept_as_often_as_it_says() -> None:
    def certified(logits: Floats, labels: Floats, bands: tuple[RawBand, ...]) -> RawBand | None:
        return certify(logits, labels, bands, target_risk=0.08, confidence=1 - DELTA, cost_ratio=3.0).band

    population, coverages = overconfident(noise=0.002), COVERAGES[::20]
    assert broken_promises(population, certified, target=0.08, cost_ratio=3.0, coverages=coverages) <= allowed()


def test_believing_what_was_observed_breaks_the_promise() -> None:
    def narrowest(logits: Floats, labels: Floats, bands: tuple[RawBand, ...]) -> RawBand | None:
        wrong = (logits >= 0) != labels
        return next((band for band in reversed(bands) if wrong[band.accepts(logits)].mean() <= TARGET), None)

    assert broken_promises(overconfident(noise=0.01), narrowest) > 3 * allowed()


@pytest.mark.parametrize("seed", range(5))
def test_mapie_has_the_same_p_values_but_for_its_rounding_and_ends_its_fixed_sequence_there(seed: int) -> None:
    """MAPIE allows a fixed sequence for one threshold only, so a band is told to it as a threshold on |logit|.

    Its input is the confidence of the label, its `positive` an accepted image, and its risk the error among those.
    """
    random = np.random.default_rng(seed)
    population = overconfident(noise=0.01)
    bands = propose_bands(population.draw(1_000, random)[0], coverages=COVERAGES[::10])
    logits, labels = population.draw(1_000, random)
    ours = certify(logits, labels, bands, target_risk=TARGET, confidence=1 - DELTA)
    errors, accepted = np.array([(row.errors, row.accepted) for row in ours.tested]).T
    theirs = mapie_controller(bands)
    with warnings.catch_warnings():
        # The risk observed wobbles over thresholds as fine as these, or none is certified: neither is a fault here.
        warnings.filterwarnings("ignore", "Fixed sequence testing requires a monotonic risk|No predict parameters")
        theirs.calibrate(expit(np.abs(logits)), (logits >= 0) == labels)
    # MAPIE 1.6 rounds n * (k / n) up, which in floats is now and then k + 1: never too sure, but not exact.
    counted = np.ceil(accepted * (errors / accepted))
    assert theirs.p_values[::-1, 0][: len(counted)] == pytest.approx(binom.cdf(counted, accepted, TARGET))
    certified = [index for index, row in enumerate(ours.tested) if row.certified]
    assert control_fwer(binom.cdf(errors, accepted, TARGET), DELTA, "fixed_sequence").tolist() == certified
    assert len(theirs.valid_predict_params) <= len(certified)
