"""Sections on test results and calibration of the exported graph."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from common.terminal import command, count
from gate import Band, Reason
from gate.pixels import Pixels
from training.evaluation.calibrate import CalibrationFindings
from training.figures import CaptionedImage, ImageGroup, confusion_matrix, reliability_diagram, score_histogram
from training.figures.style import GLASSES, NO_GLASSES
from training.report.evidence import Evidence
from training.report.formatting import edges, probability
from training.report.gate_scores import LabelledScores
from training.report.page import (
    Html,
    MissingSection,
    Part,
    ReportFigure,
    ReportImages,
    Section,
    element,
    paragraph,
    table,
)

SURE = 10
UNSURE = 10


def results(evidence: Evidence) -> Section:
    """Show the decisions about all test images, with confusion matrices and example predictions."""
    head = ("test split", "label", "images", "accepted, correct", "accepted, wrong", "uncertain", "unfamiliar")
    parts: list[Part] = [
        paragraph(
            "Scores come from the exported graph and decisions from the gate, exactly as in the service. "
            f"A probability from {edges(evidence.card.band)}, edges included, is uncertain."
        ),
        table(head, [row for name, part in evidence.test.by_data_set() for row in _fates(name, part)], words=2),
    ]
    for name, part in evidence.test.by_data_set():
        parts += [element("h3", f"Data set {name}"), _scores(evidence, name, part), _confusion(name, part)]
        parts.append(_predictions(evidence, name, part))
    return Section("results", "Results on the test split", tuple(parts))


def calibration(evidence: Evidence) -> Section | MissingSection:
    """Show calibration before and after temperature scaling."""
    title, sources = "Calibration", evidence.sources
    if evidence.calibrated is None:
        return MissingSection(title, command("train", "calibrate", "--records", sources.records, "--run", sources.run))
    findings = evidence.calibrated.calibration
    said = paragraph(
        f"On the {count(findings.images, 'image')} of the calibration split, which was not used for training, a "
        f"temperature of {findings.temperature:.3f} was fitted. It divides the logits: labels stay, confidence changes."
    )
    diagrams = (
        ReportFigure(
            f"reliability-{when}",
            reliability_diagram(f"Reliability {when} temperature scaling", bins),
            f"Observed share against predicted probability {when} scaling, in bins of about equal size, with exact "
            "binomial 95 % intervals. On the diagonal the model is perfectly calibrated.",
        )
        for when, bins in (("before", findings.reliability_before), ("after", findings.reliability_after))
    )
    return Section("calibration", title, (said, _calibration_table(findings), *diagrams))


def picture(image: Pixels, score: float, band: Band, *, word: str = "", marked: bool = False) -> CaptionedImage:
    """Caption an image with its probability, in the colour of the predicted label."""
    colour = GLASSES if score >= 0.5 else NO_GLASSES
    return CaptionedImage(image, f"{word}\n{probability(score, band)}".strip(), colour, marked)


def _calibration_table(findings: CalibrationFindings) -> Html:
    rows = [
        (name, f"{metrics.log_loss:.4f}", f"{metrics.brier:.4f}", f"{metrics.expected_calibration_error:.4f}")
        for name, metrics in (("before", findings.before), ("after", findings.after))
    ]
    return table(("", "log loss", "Brier score", "expected calibration error"), rows)


def _fates(name: str, part: LabelledScores) -> list[tuple[str, ...]]:
    rows = []
    for label, title in ((1, "glasses"), (0, "no glasses")):
        mine = part.select(part.records.labels == label)
        reasons = [one.reason for one in mine.judged.decisions]
        fates = Counter(zip(reasons, mine.wrong.tolist(), strict=True))
        kept = (fates[Reason.CONFIDENT, False], fates[Reason.CONFIDENT, True])
        lost = (reasons.count(Reason.UNCERTAIN), reasons.count(Reason.UNFAMILIAR))
        rows.append((name, title, *(f"{amount:,}" for amount in (len(mine), *kept, *lost))))
    return rows


def _scores(evidence: Evidence, name: str, part: LabelledScores) -> ReportFigure:
    figure = score_histogram(part.probability, part.records.labels, evidence.gate.band)
    return ReportFigure(
        f"scores-{name}",
        figure,
        f"Probabilities on the test split of {name}. Images in the band are discarded; a bar that an edge of the band "
        "divides counts others too.",
    )


def _confusion(name: str, part: LabelledScores) -> ReportFigure:
    panels = {"all images": _counts(part), "accepted images": _counts(part.select(part.judged.accepted))}
    amount = int(part.wrong.sum())
    wrong = f"Labelled wrongly: {count(amount, 'image')}, named under Mistakes." if amount else "No label is wrong."
    caption = f"Labels and predicted labels on the test split of {name}, with the share of each row. {wrong}"
    return ReportFigure(f"confusion-{name}", confusion_matrix(panels), caption)


def _counts(part: LabelledScores) -> NDArray[np.int64]:
    """Count images by label and by predicted label, int64 `[2, 2]`, glasses first."""
    glasses = part.records.labels == 1
    predicted = glasses ^ part.wrong
    rows = [[np.sum((glasses == label) & (predicted == said)) for said in (True, False)] for label in (True, False)]
    return np.array(rows, np.int64)


def _predictions(evidence: Evidence, name: str, part: LabelledScores) -> ReportImages:
    order = np.argsort(part.probability, kind="stable")
    inside = np.array([score in evidence.gate.band for score in part.probability[order]], bool)
    sure, unsure = order[~inside], order[inside]
    chosen = sure[np.linspace(0, len(sure) - 1, min(SURE, len(sure))).astype(int)]
    # Of the uncertain ones, those nearest to 0.5.
    nearest = unsure[np.argsort(np.abs(part.probability[unsure] - 0.5), kind="stable")[:UNSURE]]
    images, scores, band = part.records.images, part.probability, evidence.gate.band
    pictures = [picture(images[one], scores[one], band) for one in chosen]
    framed = sorted(nearest, key=lambda one: scores[one])
    pictures += [picture(images[one], scores[one], band, marked=True) for one in framed]
    said = (
        f"Framed, with enlarged eyes: {len(nearest)} of {len(unsure)} in the band."
        if len(unsure)
        else "No image is in the band."
    )
    caption = f"Test images of {name} with their probability of glasses, in ascending order. {said}"
    return ReportImages(f"predictions-{name}", (ImageGroup(tuple(pictures)),), caption)
