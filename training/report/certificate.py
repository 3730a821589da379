"""The section on the certificate of each label."""

from common.terminal import command, percent_exact
from gate import Label
from training.evaluation.certificate import Certificate, TestedEdge
from training.evaluation.certificate_text import describe, describe_true_class
from training.evaluation.class_shares import ShareRisk
from training.evaluation.raw_band import RawBand, probability_band
from training.evaluation.selective_risk import SelectiveRisk
from training.report.evidence import Evidence
from training.report.formatting import percent, upper
from training.report.page import Html, MissingSection, Section, element, folded, joined, paragraph, table


def certificate(evidence: Evidence) -> Section | MissingSection:
    """Show the certificate of each label, the risk at other shares of glasses, and every tested edge."""
    title, record = "The certificate", evidence.certified
    if record is None:
        sources = evidence.sources
        return MissingSection(title, command("train", "certify", "--records", sources.records, "--run", sources.run))
    temperature = evidence.card.calibration.temperature
    parts = [
        *map(paragraph, describe(record.certificate, temperature=temperature)),
        _classes(record.certificate),
        _shares(record.shares, record.certificate.confidence),
    ]
    if record.held_out and record.own:
        parts.append(_alone(record.held_out, record.own, temperature))
    tested = (_tested(label, record.certificate, temperature) for label in Label)
    return Section("certificate", title, (*parts, *tested))


def _classes(certificate: Certificate) -> Html:
    sure = percent_exact(certificate.confidence)
    head = ("label", "certified", "accepted", "wrong", f"at most wrong [{sure}]", "target")
    rows = [
        (
            label,
            "yes" if part.certified else "no",
            f"{part.accepted:,}",
            f"{part.errors:,}",
            upper(part.risk_bound),
            percent_exact(part.target_risk),
        )
        for label, part in certificate.classes.items()
    ]
    said = [describe_true_class(label, part, certificate.confidence) for label, part in certificate.classes.items()]
    return joined(table(head, rows), paragraph(" ".join(said)))


def _shares(risks: tuple[ShareRisk, ...], confidence: float) -> Html:
    head = ("share of glasses", "accepted as", "estimated wrong", "at most wrong")
    rows = [
        (
            percent(risk.glasses),
            risk.label,
            "-" if risk.risk is None else percent(risk.risk, decimals=2),
            upper(risk.bound),
        )
        for risk in risks
    ]
    said = (
        "If another share of the images shows glasses, other shares of the accepted images are wrong. Each bound holds "
        f"with confidence {confidence} for this band taken as given, and half of the error probability belongs to "
        "each of its two rates."
    )
    return joined(table(head, rows, words=2), paragraph(said))


def _alone(alone: Certificate, in_use: SelectiveRisk, temperature: float) -> Html:
    """Show what the calibration split, which the served network has not seen, says by itself."""
    said = (paragraph(line) for line in describe(alone, temperature=temperature))
    return joined(
        paragraph(
            element("strong", "The served network alone. "),
            f"Its own calibration split has {alone.familiar} familiar images. With the band in use it accepts "
            f"{in_use.accepted}, of which {in_use.errors} are wrong. By itself it would give this certificate:",
        ),
        *said,
        _classes(alone),
    )


def _tested(label: Label, certificate: Certificate, temperature: float) -> Html:
    rows = [_row(label, row, temperature) for row in certificate.classes[label].tested]
    head = ("edge", "accepted", "wrong", "at most wrong", "certified")
    return folded(f"Tested edges of {label}, most careful first: {len(rows)}", table(head, rows))


def _row(label: Label, row: TestedEdge, temperature: float) -> tuple[str, ...]:
    side = {Label.GLASSES: RawBand(low=0.0, high=max(0.0, row.edge)),
            Label.NO_GLASSES: RawBand(low=min(0.0, row.edge), high=0.0)}  # fmt: skip
    band = probability_band(side[label], temperature)
    edge = band.high if label is Label.GLASSES else band.low
    bound = upper(row.bound)
    return f"{edge:.10g}", f"{row.accepted:,}", f"{row.errors:,}", bound, "yes" if row.certified else "no"
