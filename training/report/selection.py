"""Sections on selective classification: the band and the discarded images."""

import numpy as np

from gate import Band, Reason
from training.evaluation.calibrate import exact_interval
from training.evaluation.certificate import Certificate
from training.evaluation.raw_band import RawBand
from training.evaluation.selective_risk import SelectiveRisk, risk_coverage, selective_risk
from training.figures import CurvePoint, ImageGroup, risk_coverage_chart
from training.report.evidence import Evidence
from training.report.formatting import edges, percent, share
from training.report.gate_scores import LabelledScores
from training.report.page import Html, ReportFigure, ReportImages, Section, element, paragraph, table
from training.report.results import picture

PAPER = Band()
EXAMPLES = 10
CALIBRATION = "calibration"
MEANING = {
    Reason.UNCERTAIN: "the probability is in the band.",
    Reason.UNFAMILIAR: "the image differs too much from the training images, at any probability.",
    Reason.CONTRADICTED: "the label is confident, but contradicts the data set, which stands in for the generator.",
}


def band(evidence: Evidence) -> Section:
    """Compare the band in use with the paper's, and show risk by coverage on each split."""
    measured = _measured(evidence)
    head = ("split", "band", "accepted", "wrong", "share accepted [95 %]", "share wrong [95 %]")
    rows = [_row(split, title, one) for split, bands in measured.items() for title, one in bands.items()]
    record = evidence.certified
    curves = {CALIBRATION: record.risk_coverage} if record else {}
    curves |= {name: risk_coverage(part.logit, part.records.labels) for name, part in _tests(evidence).items()}
    target = record.certificate.target_risk if record else None
    charts = [
        ReportFigure(
            f"risk-coverage-{split}",
            risk_coverage_chart(split, curve, _marks(evidence, split, measured[split]), target=target),
            f"Share of wrong labels on the split {split} when only the most confident images are accepted, from few "
            "(left) to all (right). The points are the bands. Images discarded as unfamiliar are excluded.",
        )
        for split, curve in curves.items()
    ]
    said = "Images discarded as unfamiliar are excluded."
    if record:
        images = record.certificate.images
        said += f" The split {CALIBRATION} stands for the {images:,} images of the certificate."
    return Section("band", "The band", (table(head, rows, words=2), paragraph(said), *charts))


def discarded(evidence: Evidence) -> Section:
    """Show test images that the gate would discard, by reason."""
    parts = [_examples(evidence.test, reason, evidence.gate.band) for reason in MEANING]
    # Images first, so that they stand side by side.
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
    if record := evidence.certified:
        own = record.paper if evidence.gate.band == PAPER else _of_certificate(record.certificate)
        measured[CALIBRATION] = dict(zip(_titles(bands), (own, record.paper), strict=False))
    for name, part in _tests(evidence).items():
        # The logit of the graph is already divided by the temperature.
        raw = {
            title: RawBand.from_probability(one, 1.0) for title, one in zip(_titles(bands), bands.values(), strict=True)
        }
        measured[name] = {title: selective_risk(part.logit, part.records.labels, one) for title, one in raw.items()}
    return measured


def _titles(bands: dict[str, Band]) -> list[str]:
    return [f"{title}, {edges(one)}" for title, one in bands.items()]


def _of_certificate(certificate: Certificate) -> SelectiveRisk:
    """Return coverage and risk among the familiar images, which are those of all other rows and of the curves."""
    risk = exact_interval(certificate.errors, certificate.accepted) if certificate.accepted else None
    coverage = exact_interval(certificate.accepted, certificate.familiar)
    return SelectiveRisk(accepted=certificate.accepted, errors=certificate.errors, coverage=coverage, risk=risk)


def _marks(evidence: Evidence, split: str, measured: dict[str, SelectiveRisk]) -> list[CurvePoint]:
    certified = evidence.certified if split == CALIBRATION else None
    target = certified.certificate.target_risk if certified else None
    return [
        # The first band is the one in use, which alone has a promise, made on the calibration split.
        CurvePoint(title, one.coverage.value, one.risk.value, None if number else target)
        for number, (title, one) in enumerate(measured.items())
        if one.risk
    ]


def _row(split: str, title: str, measured: SelectiveRisk) -> tuple[str, ...]:
    return (
        split,
        title,
        f"{measured.accepted:,}",
        f"{measured.errors:,}",
        share(measured.coverage),
        share(measured.risk),
    )


def _examples(test: LabelledScores, reason: Reason, band: Band) -> Html | ReportImages:
    indices = np.flatnonzero([one.reason is reason for one in test.expecting])
    if not len(indices):
        return paragraph(element("strong", f"{reason.capitalize()}: "), f"none of the {len(test):,} test images.")
    shown = indices[np.linspace(0, len(indices) - 1, min(EXAMPLES, len(indices))).astype(int)]
    pictures = [picture(test.records.images[one], test.probability[one], band) for one in shown]
    part = percent(len(indices) / len(test))
    caption = f"{len(indices):,} of {len(test):,} test images ({part}) are {reason}: {MEANING[reason]}"
    return ReportImages(f"discarded-{reason}", (ImageGroup(tuple(pictures), heading=reason),), caption)
