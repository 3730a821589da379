"""Sections on test results and calibration of the exported graph."""

from collections import Counter

import numpy as np

from gate import Reason
from gate.pixels import Pixels
from training.evaluation.calibrate import CalibrationFindings
from training.figures import CaptionedImage, picture_grid, prediction_grid, reliability_diagram, score_histogram
from training.figures.style import GLASSES, NO_GLASSES
from training.report.evidence import Evidence
from training.report.formatting import count, edges
from training.report.gate_scores import LabelledScores
from training.report.page import Html, MissingSection, ReportFigure, Section, element, paragraph, table

SURE = 10
UNSURE = 10
MISTAKES = 20


def results(evidence: Evidence) -> Section:
    """Show the decisions about all test images, with example predictions and all kinds of mistakes."""
    head = ("test split", "label", "images", "accepted, correct", "accepted, wrong", "uncertain", "unfamiliar")
    parts: list[Html | ReportFigure] = [
        paragraph(
            "Scores come from the exported graph and decisions from the gate, exactly as in the service. "
            f"A probability from {edges(evidence.card.band)}, edges included, is uncertain."
        ),
        table(head, [row for name, part in evidence.test.by_data_set() for row in _fates(name, part)], words=2),
    ]
    for name, part in evidence.test.by_data_set():
        parts += [element("h3", f"Data set {name}"), _scores(evidence, name, part)]
        parts += [*_mistakes(name, part), _predictions(evidence, name, part)]
    return Section("results", "Results on the test split", tuple(parts))


def calibration(evidence: Evidence) -> Section | MissingSection:
    """Show calibration before and after temperature scaling."""
    title, sources = "Calibration", evidence.sources
    if evidence.calibrated is None:
        return MissingSection(title, f"lensgate train calibrate --records {sources.records} --run {sources.run}")
    found = evidence.calibrated.calibration
    said = paragraph(
        f"On the {count(found.images, 'image')} of the calibration split, which was not used for training, a "
        f"temperature of {found.temperature:.3f} was fitted. It divides the logits: labels stay, confidence changes."
    )
    diagram = ReportFigure(
        "reliability",
        reliability_diagram(found.reliability_before, found.reliability_after),
        "Observed share against predicted probability, in bins of about equal size, with exact binomial 95 % "
        "intervals. On the diagonal the model is perfectly calibrated.",
    )
    return Section("calibration", title, (said, _calibration_table(found), diagram))


def picture(image: Pixels, probability: float, *, word: str = "", marked: bool = False) -> CaptionedImage:
    """Caption an image with its probability, in the colour of the predicted label."""
    colour = GLASSES if probability >= 0.5 else NO_GLASSES
    return CaptionedImage(image, f"{word}\n{probability:.3f}".strip(), colour, marked)


def _calibration_table(found: CalibrationFindings) -> Html:
    rows = [
        (name, f"{one.log_loss:.4f}", f"{one.brier:.4f}", f"{one.expected_calibration_error:.4f}")
        for name, one in (("before", found.before), ("after", found.after))
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
        f"scores-{name}", figure, f"Probabilities on the test split of {name}. Images in the band are discarded."
    )


def _predictions(evidence: Evidence, name: str, part: LabelledScores) -> ReportFigure:
    order = np.argsort(part.probability, kind="stable")
    inside = np.array([score in evidence.gate.band for score in part.probability[order]], bool)
    sure, unsure = order[~inside], order[inside]
    chosen = sure[np.linspace(0, len(sure) - 1, min(SURE, len(sure))).astype(int)]
    # Of the uncertain ones, those nearest to 0.5.
    nearest = unsure[np.argsort(np.abs(part.probability[unsure] - 0.5), kind="stable")[:UNSURE]]
    images, scores = part.records.images, part.probability
    pictures = [picture(images[one], scores[one]) for one in chosen]
    pictures += [picture(images[one], scores[one], marked=True) for one in sorted(nearest, key=lambda one: scores[one])]
    said = (
        f"Framed, with enlarged eyes: {len(nearest)} of {len(unsure)} in the band."
        if len(unsure)
        else "No image is in the band."
    )
    caption = f"Test images of {name} with their probability of glasses, in ascending order. {said}"
    return ReportFigure(f"predictions-{name}", prediction_grid(pictures), caption)


def _mistakes(name: str, part: LabelledScores) -> list[Html | ReportFigure]:
    wrong = np.flatnonzero(part.wrong)
    if not len(wrong):
        return [paragraph(f"All test images of {name} are labelled correctly.")]
    worst = wrong[np.argsort(-np.abs(part.probability[wrong] - 0.5), kind="stable")]
    names = part.records.names
    pictures = [
        picture(part.records.images[one], part.probability[one], word=_short(names[one])) for one in worst[:MISTAKES]
    ]
    caption = f"Mistakes on {name}, most confident first: {len(pictures)} of {count(len(wrong), 'image')}."
    return [ReportFigure(f"mistakes-{name}", picture_grid(pictures), caption)]


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"…{name[-11:]}"
