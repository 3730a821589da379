import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import BinaryClassificationController, BinaryRisk, abstention_rate
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom, norm

from gate import Band, Label
from gate.card import TrueClass
from training.errors import DataError
from training.evaluation.candidate_edges import COVERAGES, Edges, propose_edges, up_to
from training.evaluation.certificate import Certificate, Promise
from training.evaluation.certificate_text import describe, describe_class, describe_true_class
from training.evaluation.certify import certify
from training.evaluation.class_shares import risks_at_shares
from training.evaluation.raw_band import SIGNS, RawBand, probability_band
from training.evaluation.risk_bound import images_required, upper_bound
from training.evaluation.selective_risk import risk_coverage, selective_risk

Floats = NDArray[np.float64]

GLASSES, NONE = Label.GLASSES, Label.NO_GLASSES
POINT = RawBand(low=0.0, high=0.0)
PAPER = RawBand(low=-0.4, high=0.4)
ONLY_0 = {GLASSES: (0.0,), NONE: (0.0,)}
TARGET = 0.05
DELTA = 0.05
SETS = 400


def symmetric(edge: float) -> RawBand:
    return RawBand(low=-edge, high=edge)


def both_sides(*margins: float) -> Edges:
    return {GLASSES: margins, NONE: tuple(-margin for margin in margins)}


def sure(glasses: int, none: int, *, missed: int = 0, false: int = 0) -> tuple[Floats, Floats]:
    """Images accepted as `glasses`, `false` of them wrongly, and as `no_glasses`, `missed` of them wrongly."""
    logits = np.repeat([4.0, -4.0], [glasses, none])
    labels = (logits > 0).astype(float)
    labels[:false] = 0.0
    labels[glasses : glasses + missed] = 1.0
    return logits, labels


def certified(logits: Floats, labels: Floats, edges: Edges = ONLY_0, *, target: float = 0.01) -> Certificate:
    return certify(logits, labels, edges, promise=Promise.equal(target), fallback=PAPER)


@dataclass(frozen=True)
class Population:
    """Faces of two classes with normal logits, so that the true risk of every edge is known.

    `share` of the faces shows glasses; their logits have the mean 3, those of the others -3, with the standard
    deviation `spread`.
    """

    share: float
    spread: float = 2.0

    def draw(self, images: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        glasses = random.random(images) < self.share
        return random.normal(np.where(glasses, 3.0, -3.0), self.spread), glasses.astype(float)

    def risk(self, label: Label, edge: float) -> float:
        """Of the images accepted with `label` beyond the edge, the share labelled wrongly."""
        margin, prior = SIGNS[label] * edge, self.share if label is GLASSES else 1 - self.share
        right, wrong = prior * norm.sf(margin, 3.0, self.spread), (1 - prior) * norm.sf(margin, -3.0, self.spread)
        return float(wrong / (right + wrong))


def allowed(sets: int = SETS) -> int:
    """The count that a promise broken with probability `DELTA` exceeds in one of a thousand runs of this test."""
    return int(binom.ppf(0.999, sets, DELTA))


def certified_edges(logits: Floats, labels: Floats, edges: Edges) -> dict[Label, float | None]:
    found = certified(logits, labels, edges, target=TARGET)
    return {label: one.edge if one.certified else None for label, one in found.classes.items()}


def broken_promises(
    population: Population, choose: Callable[[Floats, Floats, Edges], dict[Label, float | None]]
) -> dict[Label, int]:
    """Count for each label the calibration sets, of `SETS`, that lead to an edge with a risk above `TARGET`."""
    random = np.random.default_rng(7)
    edges = propose_edges(population.draw(300, random)[0], coverages=COVERAGES[::10])
    chosen = [choose(*population.draw(1_000, random), edges) for _ in range(SETS)]
    return {
        label: sum((edge := one[label]) is not None and population.risk(label, edge) > TARGET for one in chosen)
        for label in Label
    }


@pytest.mark.parametrize(("errors", "images"), [(0, 299), (1, 473), (2, 628)])
def test_one_per_cent_takes_the_number_of_images_in_the_tables(errors: int, images: int) -> None:
    assert images_required(0.0, target_risk=0.01, confidence=0.95, errors=errors) == images
    for count, passes in ((images, True), (images - 1, False)):
        found = certified(*sure(count, count, missed=errors, false=errors))
        assert [one.certified for one in found.classes.values()] == [passes, passes]


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


def test_band_with_swapped_edges_is_refused() -> None:
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


def test_candidates_go_from_careful_to_all_images_of_each_label() -> None:
    logits = np.random.default_rng(0).permutation(np.concatenate([np.arange(1, 1_001) / 10, -np.arange(1, 3_001) / 10]))
    edges = propose_edges(logits)
    for label, count in ((GLASSES, 1_000), (NONE, 3_000)):
        margins = SIGNS[label] * np.array(edges[label])
        assert len(margins) == len(COVERAGES) == 201
        accepted = [(SIGNS[label] * logits > margin).sum() / count for margin in margins]
        assert accepted == pytest.approx(COVERAGES, abs=1e-3)
        assert (np.diff(margins) < 0).all()
        assert margins[-1] == 0


def test_edge_between_two_images_is_interpolated_and_duplicate_candidates_are_dropped() -> None:
    logits = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert propose_edges(logits, coverages=(0.9, 0.7, 0.7, 1.0)) == {GLASSES: (1.5, 0.5, 0.0), NONE: ()}


def test_candidates_end_at_the_edges_of_a_given_band() -> None:
    found = up_to({GLASSES: (3.0, 1.0, 0.4, 0.0), NONE: (-0.3, 0.0)}, PAPER)
    assert found == {GLASSES: (3.0, 1.0, 0.4), NONE: (-0.4,)}


@pytest.mark.parametrize("logits", [[], [1.0, math.nan], [math.inf]])
def test_edges_are_proposed_from_numbers_only(logits: list[float]) -> None:
    with pytest.raises(DataError, match="finite"):
        propose_edges(np.array(logits))


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_a_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(ValueError, match="coverages"):
        propose_edges(np.array([1.0]), coverages=(coverage,))


def test_each_label_has_a_sequence_that_ends_at_its_own_first_failure() -> None:
    # Beyond 2, 400 images of each label are right; 30 of the unsure ones accepted as `glasses` are wrong.
    logits, labels = sure(500, 400, false=30)
    logits[:100] = 1.0
    found = certified(logits, labels, both_sides(3.0, 2.0, 0.5, 0.0))
    tested = {
        label: [(row.edge, row.errors, row.certified) for row in one.tested] for label, one in found.classes.items()
    }
    assert tested == {
        GLASSES: [(3.0, 0, True), (2.0, 0, True), (0.5, 30, False)],
        NONE: [(-3.0, 0, True), (-2.0, 0, True), (-0.5, 0, True), (0.0, 0, True)],
    }
    assert (found.band, found.certified, found.complete, found.target_risk) == (
        RawBand(low=0.0, high=2.0),
        True,
        True,
        0.01,
    )
    assert (found.images, found.accepted, found.errors, found.coverage.value) == (900, 800, 0, 800 / 900)
    glasses = found.classes[GLASSES]
    assert (glasses.accepted, glasses.errors, glasses.risk, glasses.images_needed) == (400, 0, 0.0, None)
    assert glasses.risk_bound == pytest.approx(1 - 0.05 ** (1 / 400))


def test_failed_first_edge_ends_the_sequence() -> None:
    logits, labels = sure(1_000, 1_000, false=4)
    logits[500:1_000] = 0.5
    found = certified(logits, labels, {GLASSES: (1.0, 0.0), NONE: (0.0,)}).classes[GLASSES]
    assert [(row.accepted, row.certified) for row in found.tested] == [(500, False)]
    assert certified(logits, labels).classes[GLASSES].certified


@pytest.mark.parametrize(
    ("images", "start"),
    # 473 images leave room for an error; without them the sequence starts where 299 may pass; 200 can never pass.
    [(1_000, 0.8), (520, 0.91), (400, 0.8), (320, 0.94), (200, 0.95)],
)
def test_a_sequence_starts_where_its_number_of_images_can_pass(images: int, start: float) -> None:
    margins = np.arange(1.0, images + 1.0)
    logits = np.concatenate([margins, -margins])
    edges = propose_edges(logits, coverages=[round(0.8 + step / 100, 2) for step in range(21)])
    found = certified(logits, (logits > 0).astype(float), edges)
    for one in found.classes.values():
        assert one.tested[0].accepted / images == pytest.approx(start, abs=0.006)


def test_a_class_that_cannot_be_certified_leaves_the_other_its_promise() -> None:
    logits, labels = sure(60, 400, missed=1)
    logits[:4] = 1.0
    found = certified(logits[:-1], labels[:-1], both_sides(2.0, 0.0))
    assert [one.certified for one in found.classes.values()] == [False, False]
    assert found.band == PAPER
    labels[60] = 0.0
    found = certified(logits, labels, both_sides(2.0, 0.0))
    glasses, none = found.classes[GLASSES], found.classes[NONE]
    assert (glasses.certified, none.certified, found.certified, found.complete) == (False, True, True, False)
    assert (found.band, found.target_risk) == (RawBand(low=0.0, high=2.0), None)
    # 56 of 60 faces with glasses are accepted, and 299 would have to be.
    assert glasses.images_needed == math.ceil((299 - 56) * 60 / 56)


def test_uncertified_class_keeps_the_papers_edge_if_that_is_more_careful() -> None:
    found = certified(*sure(60, 400), {GLASSES: (0.1, 0.0), NONE: (0.0,)})
    assert found.band == RawBand(low=0.0, high=PAPER.high)
    assert certified(*sure(60, 400), {GLASSES: (), NONE: (0.0,)}).band.high == PAPER.high


def test_no_number_of_images_helps_if_too_many_are_wrong() -> None:
    assert certified(*sure(100, 400, false=5)).classes[GLASSES].images_needed is None


def test_each_class_can_have_a_target_of_its_own() -> None:
    promise = Promise(target_risks={GLASSES: 0.05, NONE: 0.001}, confidence=0.95)
    found = certify(*sure(60, 400), ONLY_0, promise=promise, fallback=PAPER)
    assert (found.classes[GLASSES].certified, found.classes[NONE].certified) == (True, False)


def test_true_class_counts_accepted_faces_and_errors() -> None:
    found = certified(*sure(60, 400, missed=1))
    assert found.classes[GLASSES].true_class == TrueClass(
        accepted=61, errors=1, bound=upper_bound(1, 61, confidence=0.95)
    )
    assert (found.classes[NONE].true_class.accepted, found.classes[NONE].true_class.errors) == (399, 0)
    assert "Of 61 accepted faces with glasses 1 are labelled wrongly; with confidence 0.95 at most 7.55 %" in (
        describe_true_class(GLASSES, found.classes[GLASSES], 0.95)
    )


def test_unfamiliar_images_lower_the_coverage() -> None:
    found = certify(*sure(300, 300), ONLY_0, promise=Promise.equal(0.01), fallback=PAPER, images=640)
    assert (found.familiar, found.images, found.coverage.value) == (600, 640, 600 / 640)


@pytest.mark.parametrize("margins", [(0.0, 1.0), (1.0, 1.0), (-1.0,)])
def test_edges_must_be_in_order_and_on_their_side(margins: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="most careful one"):
        certified(*sure(10, 10), both_sides(*margins))


@pytest.mark.parametrize(("risk", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.01, 1.0)])
def test_invalid_target_or_confidence_is_refused(risk: float, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"less than|greater than"):
        Promise.equal(risk, confidence)


@pytest.mark.parametrize(
    ("logits", "labels", "fault"),
    [([], [], "no labelled images"), ([1.0, -1.0], [0.0, 0.0], "labelled glasses"), ([1.0], [1.0, 0.0], "one number")],
)
def test_labels_that_cannot_certify_say_why(logits: list[float], labels: list[float], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        certified(np.array(logits), np.array(labels))


def test_a_certificate_survives_its_file() -> None:
    found = certified(*sure(300, 40), both_sides(1.0, 0.0))
    assert Certificate.model_validate_json(found.model_dump_json()) == found


def test_a_certificate_says_what_it_promises_and_how_surely() -> None:
    found = certify(*sure(58, 400), both_sides(2.0), promise=Promise.equal(0.01), fallback=PAPER, images=465, folds=5)
    band, *classes, scored_by = describe(found, temperature=1.0)
    assert band == "Band [0.1192, 0.8808] accepts 98.49 % of 465 images (0 of 458 wrong); 7 are unfamiliar."
    assert sorted(classes) == [
        "Of the images accepted as no_glasses at most 1 % are labelled wrongly with confidence 0.95 (400 accepted, 0 "
        "wrong, bound 0.75 %).",
        "glasses is not certified at 1 % with confidence 0.95 (58 accepted, 0 wrong, bound 5.04 %): it takes about 241 "
        "more labelled faces with glasses outside the training split. Its edge of the band is a careful choice, "
        "without a promise.",
    ]
    two = describe(certified(*sure(400, 400), both_sides(2.0)))[-2]
    assert two == "Each class's promise holds with 95 % confidence by itself, and both together with at least 90 %."
    sure_of_it = certify(*sure(100, 400), both_sides(2.0), promise=Promise.equal(0.1, 0.9999), fallback=PAPER)
    assert (
        "holds with 99.99 % confidence by itself, and both together with at least 99.98 %." in describe(sure_of_it)[-2]
    )
    nothing = describe(certified(*sure(30, 30)), temperature=0.7)
    assert nothing[0].startswith("Band [0.4, 0.6] accepts 100 % of 60 images")
    assert all(line.endswith("Its edge of the band is the paper's, without a promise.") for line in nothing[1:3])
    assert "each trained without the images that it scores" in scored_by
    assert "not trained on them" in describe(certified(*sure(300, 300)))[-1]
    assert "[-2.00, 2.00]" in describe(found)[0]
    assert "more images would not help" in " ".join(describe(certified(*sure(100, 400, false=5))))


def test_label_without_accepted_images_is_advised_to_train_longer() -> None:
    found = certified(*sure(60, 1400), {GLASSES: (50.0,), NONE: (0.0,)})
    glasses, none = found.classes[GLASSES], found.classes[NONE]
    assert "certain enough about none of the calibration images" in describe_class(GLASSES, glasses, 0.95)
    assert "(1,400 accepted, 0 wrong" in describe_class(NONE, none, 0.95)


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


@pytest.mark.parametrize(("share", "spread"), [(0.135, 1.5), (0.5, 2.0), (0.635, 2.0)])
def test_the_promise_about_each_class_is_kept_as_often_as_it_says(share: float, spread: float) -> None:
    broken = broken_promises(Population(share, spread), certified_edges)
    assert 0 < max(broken.values()) <= allowed(), broken


def test_believing_the_observed_share_breaks_the_promise() -> None:
    def nearest(logits: Floats, labels: Floats, edges: Edges) -> dict[Label, float | None]:
        def risk(label: Label, edge: float) -> float:
            kept = SIGNS[label] * logits > SIGNS[label] * edge
            return float((labels[kept] != (label is GLASSES)).mean())

        return {label: next((one for one in edges[label][::-1] if risk(label, one) <= TARGET), None) for label in Label}

    assert max(broken_promises(Population(0.135, 1.5), nearest).values()) > 3 * allowed()


def test_one_bound_for_both_classes_breaks_the_promise_about_the_rarer_one() -> None:
    """Both labels together have few errors if one is frequent and easy, whatever the other's share."""
    population, random = Population(0.05), np.random.default_rng(0)
    logits, labels = population.draw(4_000, random)
    wrong = int(((logits >= 0) != labels).sum())
    assert upper_bound(wrong, len(logits), confidence=0.95) < 0.1
    found = certified(logits, labels, ONLY_0, target=0.1)
    assert not found.classes[GLASSES].certified
    assert found.classes[NONE].certified
    assert population.risk(GLASSES, 0.0) > 0.4


def test_the_bounds_at_other_shares_are_kept_with_the_band_that_was_chosen() -> None:
    population, random = Population(0.2), np.random.default_rng(3)
    edges = propose_edges(population.draw(300, random)[0], coverages=COVERAGES[::10])
    broken = {(share, label): 0 for share in (0.135, 0.635) for label in Label}
    for _ in range(SETS // 2):
        logits, labels = population.draw(1_000, random)
        band = certified(logits, labels, edges, target=TARGET).band
        for one in risks_at_shares(logits, labels, band, confidence=1 - DELTA):
            edge = band.high if one.label is GLASSES else band.low
            broken[one.glasses, one.label] += Population(one.glasses).risk(one.label, edge) > one.bound
    assert max(broken.values()) <= allowed(SETS // 2)


def test_the_risk_at_another_share_follows_bayes_rule() -> None:
    # Of the faces with glasses 80 % are accepted as `glasses` and 10 % as `no_glasses`; of the others 1 % and 95 %.
    logits = np.repeat([4.0, 0.0, -4.0, 4.0, 0.0, -4.0], [80, 10, 10, 10, 40, 950])
    labels = np.repeat([1.0, 0.0], [100, 1_000])
    found = {one.label: one for one in risks_at_shares(logits, labels, symmetric(1.0), confidence=0.95, shares=[0.6])}
    assert found[GLASSES].risk == pytest.approx(0.4 * 0.01 / (0.4 * 0.01 + 0.6 * 0.8))
    assert found[NONE].risk == pytest.approx(0.6 * 0.1 / (0.6 * 0.1 + 0.4 * 0.95))
    most, least = upper_bound(10, 1_000, confidence=0.975), 1 - upper_bound(20, 100, confidence=0.975)
    assert found[GLASSES].bound == pytest.approx(0.4 * most / (0.4 * most + 0.6 * least))
    nothing = risks_at_shares(logits, labels, symmetric(5.0), confidence=0.95, shares=[0.6])
    assert [one.risk for one in nothing] == [None, None]
    assert min(one.bound for one in nothing) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_mapie_has_the_same_p_values_but_for_its_rounding(seed: int) -> None:
    """For one label MAPIE's input is the probability of the label, its `positive` an accepted image."""
    random = np.random.default_rng(seed)
    population = Population(0.5)
    edges = propose_edges(population.draw(1_000, random)[0], coverages=COVERAGES[::10])
    logits, labels = population.draw(1_000, random)
    ours = certified(logits, labels, edges, target=TARGET).classes[GLASSES].tested
    errors, accepted = np.array([(row.errors, row.accepted) for row in ours]).T
    theirs = BinaryClassificationController(
        predict_function=lambda confidence: np.column_stack([1 - confidence, confidence]),
        risk=BinaryRisk(lambda right, kept: right != kept, lambda _, kept: kept == 1, higher_is_better=False),
        target_level=TARGET,
        confidence_level=1 - DELTA,
        best_predict_param_choice=abstention_rate,
        # MAPIE keeps a score on the threshold, a band discards it.
        list_predict_params=np.nextafter([float(expit(row.edge)) for row in ours][::-1], 1.0),
        fwer_method="bonferroni",
    )
    with warnings.catch_warnings():
        # A sequence that certifies no edge is compared too.
        warnings.filterwarnings("ignore", "No predict parameters")
        theirs.calibrate(expit(logits), labels == 1)
    # MAPIE 1.6 rounds n * (k / n) up, which in floats is now and then k + 1: never too sure, but not exact.
    counted = np.ceil(accepted * (errors / accepted))
    assert theirs.p_values[::-1, 0] == pytest.approx(binom.cdf(counted, accepted, TARGET))
    assert [row.certified for row in ours] == (binom.cdf(errors, accepted, TARGET) <= DELTA).tolist()
