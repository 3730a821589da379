"""Sections on training data and training run."""

import numpy as np

from common.terminal import count
from gate import Label
from gate.card import CardDataSet
from training.data.records import Records
from training.figures import CaptionedImage, ImageGroup, curve
from training.figures.style import GLASSES, NO_GLASSES
from training.model.checkpoint import kept_epoch
from training.report.evidence import Evidence
from training.report.formatting import percent
from training.report.page import (
    Beside,
    Html,
    ReportFigure,
    ReportImages,
    Section,
    element,
    facts,
    folded,
    paragraph,
    table,
)

EXAMPLES = 10
MAX_PROBLEMS = 200


def data(evidence: Evidence) -> Section:
    """Show data sets, splits, counts, licences, skipped files and examples of both labels."""
    sets = evidence.card.data
    head = ("data set", "split", "images", "with glasses", "share")
    counts = table(head, [row for one in sets for row in _counts(one)], words=2)
    said = Beside((counts,), (*map(_about, sets), _problems(evidence.manifest.problems)))
    # All images of a data set may be copies of another one's, or be tested on.
    learned = (one.name for one in sets if one.name in evidence.train.data_sets)
    return Section("data", "The data", (said, *(_examples(evidence.train, name) for name in learned)))


def training(evidence: Evidence) -> Section:
    """Show settings, curves and the selected epoch."""
    run, history = evidence.run, evidence.history
    kept = kept_epoch(history["val_loss"], run.preset.patience)
    said = paragraph(
        f"{count(run.epochs, 'epoch')} over {count(len(evidence.train), 'image')}, seed {run.seed}, "
        f"{count(run.parameters, 'parameter')}. Epoch {kept} was selected: "
        + ("the last one." if kept == run.epochs and not run.preset.patience else "it has the lowest validation loss.")
    )
    curves = (
        ReportFigure(
            f"training-{metric}",
            curve(history, metric, kept=kept),
            f"{metric.capitalize()} on the training and the validation split. The training curve is measured during "
            "training, with dropout and augmentation, and is therefore usually the worse of the two.",
        )
        for metric in ("accuracy", "loss")
    )
    settings = facts([(name.replace("_", " "), str(value) or "none") for name, value in run.settings.items()])
    return Section("training", "Training", (said, *curves, element("h3", "Settings"), settings))


def _about(data: CardDataSet) -> Html:
    return paragraph(element("strong", data.name), f": {data.source}. Licence: {data.licence}.")


def _counts(data: CardDataSet) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for split, labels in data.images.items():
        total = sum(labels.values())
        shown = labels.get(Label.GLASSES, 0)
        rows.append((data.name, split, f"{total:,}", f"{shown:,}", percent(shown / total) if total else "-"))
    return rows


def _problems(problems: tuple[str, ...]) -> Html:
    if not problems:
        return paragraph("No file was left out.")
    shown = [element("li", problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        shown.append(element("li", f"… and {len(problems) - MAX_PROBLEMS:,} more, in the manifest of the records."))
    return folded(f"{count(len(problems), 'remark')} on files and splits", element("ul", *shown))


def _examples(train: Records, name: str) -> ReportImages:
    mine = train.select(np.array(train.data_sets) == name)
    groups = []
    for label, heading, colour in ((1, "glasses", GLASSES), (0, "no glasses", NO_GLASSES)):
        part = mine.images[mine.labels == label]
        # Spread over the whole set, because images are often sorted by source.
        chosen = np.linspace(0, len(part) - 1, min(EXAMPLES, len(part))).astype(int)
        groups.append(ImageGroup(tuple(map(CaptionedImage, part[chosen])), heading, colour))
    caption = f"Training images of {name} by training label."
    return ReportImages(f"labels-{name}", tuple(group for group in groups if group.pictures), caption)
