"""What the model learned from, and how."""

import numpy as np

from gate import Label
from gate.card import DataSet
from training.data.records import Records
from training.figures import curve, label_grid
from training.report.evidence import Evidence
from training.report.formatting import count, percent
from training.report.page import Html, ReportFigure, Section, element, facts, folded, paragraph, table

EXAMPLES = 10
MOST_PROBLEMS = 200


def data(evidence: Evidence) -> Section:
    """Sets, splits, counts and terms; what was left out; examples of both labels."""
    sets = evidence.card.data
    parts: list[Html | ReportFigure] = [
        table(
            ("data set", "split", "images", "with glasses", "share"),
            [row for one in sets for row in _counts(one)],
            words=2,
        ),
        table(("data set", "source", "licence"), [(one.name, one.source, one.licence) for one in sets], words=3),
        _problems(evidence.manifest.problems),
    ]
    return Section("data", "The data", (*parts, *(_examples(evidence.train, one.name) for one in sets)))


def training(evidence: Evidence) -> Section:
    """The settings, the curves and the epoch that was kept."""
    run, history = evidence.run, evidence.history
    kept = kept_epoch(evidence)
    said = paragraph(
        f"{count(run.epochs, 'epoch')} over {count(len(evidence.train), 'image')}, seed {run.seed}, "
        f"{count(run.parameters, 'parameter')}. Kept is epoch {kept}, "
        + ("the last." if kept == run.epochs and not run.settings["patience"] else "the one of least validation loss.")
    )
    curves = (
        ReportFigure(
            f"training-{metric}",
            curve(history, metric, kept=kept),
            f"{metric.capitalize()} on the training and on the validation split. Training is measured while it goes "
            "on, with dropout and whatever augmentation there is: that makes it the harder of the two.",
        )
        for metric in ("accuracy", "loss")
    )
    settings = facts([(name.replace("_", " "), f"{value}") for name, value in run.settings.items()])
    return Section("training", "Training", (said, *curves, element("h3", "Settings"), settings))


def kept_epoch(evidence: Evidence) -> int:
    """The epoch, from 1, whose weights were exported: without patience the last, else the one of least loss."""
    losses = evidence.history["val_loss"]
    return int(np.argmin(losses)) + 1 if evidence.run.settings["patience"] else len(losses)


def _counts(one: DataSet) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for split, labels in one.images.items():
        total = sum(labels.values())
        shown = labels.get(Label.GLASSES, 0)
        rows.append((one.name, split, f"{total:,}", f"{shown:,}", percent(shown / total) if total else "-"))
    return rows


def _problems(problems: tuple[str, ...]) -> Html:
    if not problems:
        return paragraph("Nothing was left out.")
    shown = [element("li", problem) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        shown.append(element("li", f"… and {len(problems) - MOST_PROBLEMS:,} more, in the manifest of the records."))
    return folded(f"{count(len(problems), 'file')} left out or remarked on", element("ul", *shown))


def _examples(train: Records, name: str) -> ReportFigure:
    mine = train.select(np.array(train.data_sets) == name)
    parts = [mine.images[mine.labels == label] for label in (1, 0)]
    # Spread over the whole set, whose sources often follow each other.
    glasses, none = (part[np.linspace(0, len(part) - 1, min(EXAMPLES, len(part))).astype(int)] for part in parts)
    return ReportFigure(
        f"labels-{name}", label_grid(glasses, none), f"Training images of {name} by the label they are learned with."
    )
