"""The section on the certificate of each label."""

from common.terminal import percent_exact
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
    title, found = "The certificate", evidence.certified
    if found is None:
        sources = evidence.sources
        return MissingSection(title, f"lensgate train certify --records {sources.records} --run {sources.run}")
    temperature = evidence.card.calibration.temperature
    parts = [
        *map(paragraph, describe(found.certificate, temperature=temperature)),
        _classes(found.certificate),
        _shares(found.shares, found.certificate.confidence),
    ]
    if found.held_out and found.own:
        parts.append(_alone(found.held_out, found.own, temperature))
    tested = (_tested(label, found.certificate, temperature) for label in Label)
    return Section("certificate", title, (*parts, *tested))


def _classes(found: Certificate) -> Html:
    sure = percent_exact(found.confidence)
    head = ("label", "certified", "accepted", "wrong", f"at most wrong [{sure}]", "target")
    rows = [
        (
            label,
            "yes" if one.certified else "no",
            f"{one.accepted:,}",
            f"{one.errors:,}",
            upper(one.risk_bound),
            percent_exact(one.target_risk),
        )
        for label, one in found.classes.items()
    ]
    said = [describe_true_class(label, one, found.confidence) for label, one in found.classes.items()]
    return joined(table(head, rows), paragraph(" ".join(said)))


def _shares(found: tuple[ShareRisk, ...], confidence: float) -> Html:
    head = ("share of glasses", "accepted as", "estimated wrong", "at most wrong")
    rows = [
        (
            percent(one.glasses),
            one.label,
            "-" if one.risk is None else percent(one.risk, decimals=2),
            upper(one.bound),
        )
        for one in found
    ]
    said = (
        "If another share of the images shows glasses, other shares of the accepted images are wrong. Each bound holds "
        f"with confidence {confidence} for this band taken as given, and half of the error probability belongs to "
        "each of its two rates."
    )
    return joined(table(head, rows, words=2), paragraph(said))


def _alone(found: Certificate, in_use: SelectiveRisk, temperature: float) -> Html:
    """Show what the calibration split, which the served network has not seen, says by itself."""
    said = (paragraph(line) for line in describe(found, temperature=temperature))
    return joined(
        paragraph(
            element("strong", "The served network alone. "),
            f"Its own calibration split has {found.familiar} familiar images. With the band in use it accepts "
            f"{in_use.accepted}, of which {in_use.errors} are wrong. By itself it would give this certificate:",
        ),
        *said,
        _classes(found),
    )


def _tested(label: Label, found: Certificate, temperature: float) -> Html:
    rows = [_row(label, row, temperature) for row in found.classes[label].tested]
    head = ("edge", "accepted", "wrong", "at most wrong", "certified")
    return folded(f"Tested edges of {label}, most careful first: {len(rows)}", table(head, rows))


def _row(label: Label, row: TestedEdge, temperature: float) -> tuple[str, ...]:
    side = {Label.GLASSES: RawBand(low=0.0, high=max(0.0, row.edge)),
            Label.NO_GLASSES: RawBand(low=min(0.0, row.edge), high=0.0)}  # fmt: skip
    band = probability_band(side[label], temperature)
    edge = band.high if label is Label.GLASSES else band.low
    bound = upper(row.bound)
    return f"{edge:.10g}", f"{row.accepted:,}", f"{row.errors:,}", bound, "yes" if row.certified else "no"
