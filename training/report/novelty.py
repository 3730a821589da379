"""Section on unfamiliar images: outcome for each kind of outlier, and the novelty threshold."""

import textwrap

import numpy as np

from common.terminal import command
from gate import Decision, Reason
from gate.card import NoveltyThreshold
from gate.pixels import Pixels
from training.data.outliers import JUDGED, make_outliers
from training.evaluation.evaluate import GateScores
from training.figures import CaptionedImage, ImageGroup, novelty_histogram
from training.figures.style import GLASSES, INK
from training.report.evidence import Evidence
from training.report.formatting import share
from training.report.gate_scores import novelties
from training.report.page import (
    Beside,
    Html,
    MissingSection,
    ReportFigure,
    ReportImages,
    Section,
    paragraph,
    table,
)

FACES = 40


def unfamiliar(evidence: Evidence) -> Section | MissingSection:
    """Show the outcome for each kind, novelty histograms, and one image of each kind."""
    title, threshold = "Unfamiliar images", evidence.card.novelty_threshold
    if threshold is None:
        sources = evidence.sources
        return MissingSection(title, command("train", "calibrate", "--records", sources.records, "--run", sources.run))
    good = evidence.test.select(np.isin(evidence.test.records.data_sets, evidence.own))
    chosen = np.linspace(0, len(good) - 1, min(FACES, len(good))).astype(int)
    kinds = make_outliers(good.records.images[chosen], JUDGED, seed=0)
    judged = {kind: evidence.gate.judge(images) for kind, images in kinds.items()}
    said = paragraph(
        "A classifier is confident even about a wall. These outliers are made from test portraits or generated, and "
        f"the gate should accept none. Novelty above {threshold.value:.4g} is unfamiliar ({threshold.chosen_by})."
    )
    pictures = tuple(_picture(images[0], kind, judged[kind].decisions[0]) for kind, images in kinds.items())
    examples = ReportImages(
        "unfamiliar",
        (ImageGroup(pictures),),
        "One image of each kind with the reason for discarding it; coloured if the gate would accept it.",
    )
    charts = _histogram(good.judged, judged, threshold)
    return Section("unfamiliar", title, (Beside((said, *_kinds(threshold)), (*charts, examples)),))


def _kinds(threshold: NoveltyThreshold) -> list[Html]:
    rows = [
        (kind, f"{one.images:,}", share(one.discarded), share(one.unfamiliar)) for kind, one in threshold.kinds.items()
    ]
    return [table(("kind", "images", "discarded [95 %]", "as unfamiliar [95 %]"), rows)] if rows else []


def _histogram(good: GateScores, kinds: dict[str, GateScores], threshold: NoveltyThreshold) -> list[ReportFigure]:
    faces = novelties(good)
    others = [found for judged in kinds.values() if (found := novelties(judged)) is not None]
    if faces is None or not others:
        return []
    caption = "Novelty of the test portraits and of outliers of all kinds."
    return [ReportFigure("novelty", novelty_histogram(faces, np.concatenate(others), threshold.value), caption)]


def _picture(image: Pixels, kind: str, decision: Decision) -> CaptionedImage:
    kept = decision.reason is Reason.CONFIDENT
    caption = f"{textwrap.fill(kind, 12)}\n({'accepted' if kept else decision.reason})"
    return CaptionedImage(image, caption, GLASSES if kept else INK)
