"""Sections on selective classification: certificate, band and discarded images."""

import numpy as np

from gate import Band, Reason
from training.evaluation.calibrate import clopper_pearson
from training.evaluation.certify import (
    LogitBand,
    SelectiveRisk,
    TestedBand,
    probability_band,
    risk_coverage,
    selective_risk,
)
from training.evaluation.class_risk import BandCertificate, ClassRisk, describe
from training.figures import CurvePoint, picture_grid, risk_coverage_chart
from training.report.evidence import Evidence
from training.report.formatting import edges, percent, share
from training.report.gate_scores import LabelledScores
from training.report.page import Html, MissingSection, ReportFigure, Section, element, folded, paragraph, table
from training.report.results import picture

PAPER = Band()
EXAMPLES = 10
CALIBRATION = "calibration"
MEANING = {
    Reason.UNCERTAIN: "the probability is in the band.",
    Reason.UNFAMILIAR: "the image differs too much from the training images, at any probability.",
    Reason.CONTRADICTED: "the label is confident, but contradicts the data set, which stands in for the generator.",
}


def certificate(evidence: Evidence) -> Section | MissingSection:
    """Show the certificate of each answer, its meaning at other shares of glasses, and every tested band."""
    title, found = "The certificate", evidence.certified
    if found is None:
        sources = evidence.sources
        return MissingSection(title, f"lensgate train certify --records {sources.records} --run {sources.run}")
    classes = found.certificate.classes
    shares = [f"bound if {percent(one.share)} wear glasses" for one in classes[0].at_shares]
    answers = table(
        ("accepted as", "images", "wrong", "bound", "certified", *shares), [_answer_row(one) for one in classes]
    )
    truths = table(
        ("truly", "accepted", "given the other label", "bound"),
        [(one.label, f"{one.faces:,}", f"{one.missed:,}", _bound(one.missed_bound)) for one in classes],
    )
    own = table(
        ("held out by the exported network, accepted as", "images", "wrong [95 %]"),
        [(label, f"{one.accepted:,}", share(one.risk)) for label, one in found.own.items()],
    )
    tested = [
        folded(
            f"Tested bands of {one.label}, most careful first: {len(one.certificate.tested)}",
            table(
                ("band", "accepted", "wrong", "bound on the risk", "certified"),
                [_tested(row) for row in one.certificate.tested],
            ),
        )
        for one in classes
    ]
    said = (
        f"Each bound holds with confidence {classes[0].certificate.confidence:g} by itself; the bounds at other shares "
        "assume that faces with and without glasses look as they do here."
    )
    parts = (paragraph(describe(found.certificate)), answers, truths, own, paragraph(said), *tested)
    return Section("certificate", title, parts)


def _answer_row(one: ClassRisk) -> tuple[str, ...]:
    found = one.certificate
    return (
        one.label,
        f"{found.accepted:,}",
        f"{found.errors:,}",
        _bound(found.risk_bound),
        "yes" if found.certified else "no",
        *(_bound(part.bound) for part in one.at_shares),
    )


def _bound(value: float) -> str:
    return percent(value, decimals=2)


def band(evidence: Evidence) -> Section:
    """Compare the band in use with the paper's, and show risk by coverage."""
    measured = _measured(evidence)
    head = ("split", "band", "accepted", "wrong", "share accepted [95 %]", "share wrong [95 %]")
    rows = [_row(split, title, one) for split, bands in measured.items() for title, one in bands.items()]
    found = evidence.certified
    curves = {CALIBRATION: found.risk_coverage} if found else {}
    curves |= {name: risk_coverage(part.logit, part.records.labels) for name, part in _tests(evidence).items()}
    first = next(iter(measured))
    target = found.certificate.classes[0].certificate.target_risk if found else None
    caption = (
        "Share of wrong labels when only the most confident images are accepted, from few (left) to all (right). "
        f"Images discarded as unfamiliar are excluded. The points show the bands on the {first} split."
    )
    chart = ReportFigure("risk-coverage", risk_coverage_chart(curves, _marks(measured[first]), target=target), caption)
    return Section("band", "The band", (table(head, rows, words=2), chart))


def discarded(evidence: Evidence) -> Section:
    """Show test images that the gate would discard, by reason."""
    parts = [_examples(evidence.test, reason) for reason in MEANING]
    # Figures first, so that they stand side by side.
    parts.sort(key=lambda part: isinstance(part, Html))
    return Section("discarded", "Discarded test images", tuple(parts))


def _tests(evidence: Evidence) -> dict[str, LabelledScores]:
    """Return the familiar test images of each data set that the guarantee covers."""
    parts = ((name, part) for name, part in evidence.test.by_data_set() if name in evidence.own)
    return {f"test: {name}": part.select(~part.judged.unfamiliar) for name, part in parts}


def _bands(evidence: Evidence) -> dict[str, Band]:
    chosen = evidence.gate.band
    if chosen == PAPER:
        return {"the paper's, in use": PAPER}
    return {"in use": chosen, "the paper's": PAPER}


def _measured(evidence: Evidence) -> dict[str, dict[str, SelectiveRisk]]:
    """Measure risk and coverage by split and band; calibration figures are taken from the certificate."""
    bands = _bands(evidence)
    measured = {}
    if found := evidence.certified:
        own = found.paper if evidence.gate.band == PAPER else _of_certificate(found.certificate)
        measured[CALIBRATION] = dict(zip(_titles(bands), (own, found.paper), strict=False))
    for name, part in _tests(evidence).items():
        logits = {
            title: LogitBand.from_probability(one) for title, one in zip(_titles(bands), bands.values(), strict=True)
        }
        measured[name] = {title: selective_risk(part.logit, part.records.labels, one) for title, one in logits.items()}
    return measured


def _titles(bands: dict[str, Band]) -> list[str]:
    return [f"{title}, {edges(one)}" for title, one in bands.items()]


def _of_certificate(found: BandCertificate) -> SelectiveRisk:
    risk = clopper_pearson(found.errors, found.accepted) if found.accepted else None
    return SelectiveRisk(accepted=found.accepted, errors=found.errors, coverage=found.coverage, risk=risk)


def _marks(measured: dict[str, SelectiveRisk]) -> list[CurvePoint]:
    return [
        CurvePoint(title, one.coverage.value, one.risk.value if one.risk else 0.0) for title, one in measured.items()
    ]


def _row(split: str, title: str, one: SelectiveRisk) -> tuple[str, ...]:
    return split, title, f"{one.accepted:,}", f"{one.errors:,}", share(one.coverage), share(one.risk)


def _tested(row: TestedBand) -> tuple[str, ...]:
    return (
        edges(probability_band(row.band)),
        f"{row.accepted:,}",
        f"{row.errors:,}",
        _bound(row.bound),
        "yes" if row.certified else "no",
    )


def _examples(test: LabelledScores, reason: Reason) -> Html | ReportFigure:
    found = np.flatnonzero([one.reason is reason for one in test.expecting])
    if not len(found):
        return paragraph(element("strong", f"{reason.capitalize()}: "), f"none of the {len(test):,} test images.")
    shown = found[np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)]
    pictures = [picture(test.records.images[one], test.probability[one]) for one in shown]
    part = percent(len(found) / len(test))
    caption = f"{len(found):,} of {len(test):,} test images ({part}) are {reason}: {MEANING[reason]}"
    return ReportFigure(f"discarded-{reason}", picture_grid(pictures, heading=reason), caption)
