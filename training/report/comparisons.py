"""Sections on doubtful labels, studies of settings and compared runs."""

from collections.abc import Iterator
from pathlib import Path

from common.terminal import command, count, p_value
from gate.card import Interval
from gate.pixels import Pixels
from training.evaluation.compare import PairedResult
from training.evaluation.seeds import ValueSummary
from training.figures import CaptionedImage, ImageGroup, interval_chart
from training.report.evidence import Evidence, IssueRow
from training.report.formatting import number, percent, share, words
from training.report.page import (
    Beside,
    Html,
    MissingSection,
    ReportFigure,
    ReportImages,
    Section,
    element,
    joined,
    paragraph,
    table,
)
from training.report.summary import baseline
from training.search.study import StudyResult

WORST = 25


def issues(evidence: Evidence) -> Section | MissingSection:
    """Show the images with doubtful labels, most doubtful first."""
    title, rows = "Doubtful labels", evidence.issues
    if rows is None:
        return MissingSection(title, "lensgate train audit --data DIR --out runs/audit")
    if not rows:
        return Section("issues", title, (paragraph("The audit found no doubtful label."),))
    images = _images(evidence)
    known = [(row, key) for row in rows if (key := _key(row, evidence)) in images][:WORST]
    pictures = tuple(
        CaptionedImage(images[key], f"{key[1]}\n{words(row['given'])}?\n{_score(row)}") for row, key in known
    )
    details = tuple(_details(evidence, row, *key) for row, key in known)
    caption = (
        f"The {len(known)} most doubtful of {count(len(rows), 'label')}, with the given label and its probability "
        "according to networks trained without the image. Review them and put corrections into corrections.csv."
    )
    return Section("issues", title, (ReportImages("label-issues", (ImageGroup(pictures),), caption, details),))


def studies(evidence: Evidence) -> Section | MissingSection:
    """Show a table, intervals and significant differences of each study."""
    title = "Studies"
    if not evidence.studies:
        records = evidence.sources.records
        return MissingSection(
            title, command("train", "study", "resolution", "--records", records, "--out", "runs/study")
        )
    parts = [part for study in evidence.studies for part in _study(study)]
    return Section("studies", title, tuple(parts))


def comparison(evidence: Evidence) -> Section | MissingSection:
    """Compare several runs on the same test images."""
    title, result = "Models compared", evidence.comparison
    if result is None:
        runs = ("--run", "A", "--run", "B", "--out", "runs/comparison")
        return MissingSection(title, command("train", "compare", "--records", evidence.sources.records, *runs))
    head = ("run", "pixels", "parameters", "errors", "accuracy [95 %]", "log loss [95 %]")
    rows = [
        (
            one.run,
            str(one.settings.get("size", "-")),
            f"{one.parameters:,}",
            str(one.errors),
            share(one.accuracy),
            number(one.log_loss),
        )
        for one in result.runs
    ]
    accuracies = {one.run: one.accuracy for one in result.runs}
    only = evidence.own[0] if len(evidence.card.metrics) == 1 else None
    floor = baseline(evidence, only) if only else None
    caption = f"The same {count(result.runs[0].images, 'test image')} for all runs; the models differ on few of them."
    chart = ReportFigure("compared", interval_chart(_shortened(accuracies), subject="run", baseline=floor), caption)
    pairs = tuple(map(_paired, result.pairs))
    return Section("comparison", title, (table(head, rows), Beside((chart,), pairs)))


def _images(evidence: Evidence) -> dict[tuple[str, str], Pixels]:
    """Return the pixels of every image of the records by data set and name."""
    parts = [part.records for part in evidence.splits.values()]
    rows = (row for part in parts for row in zip(part.data_sets, part.names, part.images, strict=True))
    return {(data_set, name): image for data_set, name, image in rows}


def _key(row: IssueRow, evidence: Evidence) -> tuple[str, str]:
    """Return data set and name; an audit of one data set omits its name, which is then the main data set."""
    return row.get("data_set") or evidence.own[0], f"face-{row['id'].removeprefix('face-')}"


def _details(evidence: Evidence, row: IssueRow, data_set: str, name: str) -> Html:
    file, path = evidence.files.link(data_set, name)
    given = joined("given ", element("b", words(row["given"])), f", probability {_score(row)}")
    return element("div", *(element("div", line) for line in (file, data_set, given, path)), class_="mistake")


def _score(row: IssueRow) -> str:
    return percent(float(row["score"]))


def _study(study: StudyResult) -> Iterator[Html | ReportFigure]:
    subject = {"sources": "held-out source, used for measuring"}.get(study.kind, study.kind.replace("-", " "))
    yield element("h3", f"Varied: {subject}")
    head = (
        subject.partition(",")[0],
        "runs",
        "images",
        "accuracy [95 %]",
        "log loss [95 %]",
        "seconds",
        "MB of records",
    )
    yield table(head, [_summarised(one) for one in study.summaries])
    yield from _differences(study)
    for metric in ("accuracy", "log_loss"):
        means = {summary.value: getattr(summary, metric).interval() for summary in study.summaries}
        quantity = metric.replace("_", " ")
        caption = f"{quantity.capitalize()} by {subject}: mean over seeds with the interval of that mean."
        chart = interval_chart(means, subject=subject.partition(",")[0], quantity=quantity)
        yield ReportFigure(f"study-{study.kind}-{metric}", chart, caption)
    if study.failed:
        yield paragraph(f"Failed: {'; '.join(study.failed)}.")


def _summarised(summary: ValueSummary) -> tuple[str, ...]:
    seconds = "-" if summary.seconds is None else f"{summary.seconds:,.0f}"
    accuracy, loss = summary.accuracy.interval(), summary.log_loss.interval()
    # A single run has no interval.
    measured = (share(accuracy), number(loss)) if summary.runs > 1 else (percent(accuracy.value), f"{loss.value:.3f}")
    return summary.value, str(summary.runs), f"{summary.images:,}", *measured, seconds, f"{summary.bytes / 1e6:.1f}"


def _differences(study: StudyResult) -> Iterator[Html]:
    if all(summary.runs < 2 for summary in study.summaries):
        yield paragraph("No difference was tested: each value has one run.")
        return
    real = [difference for difference in study.differences if difference.real]
    for each in real:
        low, high = each.ordered
        metric = each.metric.replace("_", " ")
        yield paragraph(f"The {metric} is {abs(each.mean):.4f} higher with {high} than with {low} ({p_value(each.p)}).")
    others = "No other difference" if real else "No difference"
    yield paragraph(f"{others} is significant (t test paired by seed, Holm's correction).")


def _paired(pair: PairedResult) -> Html:
    return paragraph(
        f"Wrong only with {pair.other}: {count(pair.only_other_wrong, 'image')}; wrong only with {pair.first}: "
        f"{pair.only_first_wrong:,} (McNemar's exact {p_value(pair.mcnemar_p)}). Difference of log loss, "
        f"{pair.other} minus {pair.first}: {number(pair.log_loss_difference)}."
    )


def _shortened(runs: dict[str, Interval]) -> dict[str, Interval]:
    """Shorten the runs to their folder names if these are unique."""
    short = {Path(run).name: one for run, one in runs.items()}
    return short if len(short) == len(runs) else runs
