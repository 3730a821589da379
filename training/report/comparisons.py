"""Sections on doubtful labels, studies of settings and compared runs."""

from collections.abc import Iterator
from pathlib import Path

from gate.card import Interval
from gate.pixels import Pixels
from training.data.dataset import Split
from training.data.records import load_records
from training.evaluation.compare import PairedResult
from training.evaluation.seeds import SeedMean, ValueDifference, ValueSummary
from training.figures import CaptionedImage, interval_chart, picture_grid
from training.report.evidence import Evidence, IssueRow
from training.report.formatting import count, number, share
from training.report.page import Html, MissingSection, ReportFigure, Section, element, paragraph, table
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
    known = [row for row in rows if _key(row, evidence) in images][:WORST]
    pictures = [
        CaptionedImage(
            images[_key(row, evidence)],
            f"{_name(row['id'])}\n{_words(row['given'])}?\n{100 * float(row['score']):.1f} %",
        )
        for row in known
    ]
    caption = (
        f"The {len(known)} most doubtful of {count(len(rows), 'label')}, with the given label and its probability "
        "according to networks trained without the image. Review them and put corrections into corrections.csv."
    )
    return Section("issues", title, (ReportFigure("label-issues", picture_grid(pictures), caption),))


def studies(evidence: Evidence) -> Section | MissingSection:
    """Show a table, intervals and significant differences of each study."""
    title = "Studies"
    if not evidence.studies:
        return MissingSection(
            title, f"lensgate train study resolution --records {evidence.sources.records} --out runs/study"
        )
    parts = [part for study in evidence.studies for part in _study(study)]
    return Section("studies", title, tuple(parts))


def comparison(evidence: Evidence) -> Section | MissingSection:
    """Compare several runs on the same test images."""
    title, found = "Models compared", evidence.comparison
    if found is None:
        command = f"lensgate train compare --records {evidence.sources.records} --run A --run B --out runs/comparison"
        return MissingSection(title, command)
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
        for one in found.runs
    ]
    accuracies = {one.run: one.accuracy for one in found.runs}
    only = evidence.own[0] if len(evidence.card.metrics) == 1 else None
    floor = baseline(evidence, only) if only else None
    caption = f"The same {count(found.runs[0].images, 'test image')} for all runs; the models differ on few of them."
    chart = ReportFigure("compared", interval_chart(_shortened(accuracies), baseline=floor), caption)
    return Section("comparison", title, (table(head, rows), *map(_paired, found.pairs), chart))


def _images(evidence: Evidence) -> dict[tuple[str, str], Pixels]:
    """Load every image of the records by data set and name."""
    records = load_records(evidence.sources.records, *Split, size=evidence.card.input.size)
    return dict(zip(zip(records.data_sets, records.names, strict=True), records.images, strict=True))


def _key(row: IssueRow, evidence: Evidence) -> tuple[str, str]:
    """Return data set and name; an audit of one data set omits its name, which is then the main data set."""
    return row.get("data_set") or evidence.own[0], _name(row["id"])


def _name(text: str) -> str:
    return f"face-{text}"


def _words(label: str) -> str:
    return label.replace("_", " ")


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
    yield from _differences(study.differences)
    for metric in ("accuracy", "log_loss"):
        means = {one.value: _interval(getattr(one, metric)) for one in study.summaries}
        quantity = metric.replace("_", " ")
        caption = f"{quantity.capitalize()} by {subject}: mean over seeds with the interval of that mean."
        yield ReportFigure(f"study-{study.kind}-{metric}", interval_chart(means, quantity=quantity), caption)
    if study.failed:
        yield paragraph(f"Failed: {'; '.join(study.failed)}.")


def _summarised(one: ValueSummary) -> tuple[str, ...]:
    seconds = "-" if one.seconds is None else f"{one.seconds:,.0f}"
    measured = (share(_interval(one.accuracy)), number(_interval(one.log_loss)))
    return one.value, str(one.runs), f"{one.images:,}", *measured, seconds, f"{one.bytes / 1e6:.1f}"


def _differences(differences: tuple[ValueDifference, ...]) -> Iterator[Html]:
    for one in (one for one in differences if one.real):
        low, high = (one.first, one.second) if one.mean > 0 else (one.second, one.first)
        metric = one.metric.replace("_", " ")
        yield paragraph(f"The {metric} is {abs(one.mean):.4f} higher with {high} than with {low} (p {one.p:.3f}).")
    others = "No other difference" if any(one.real for one in differences) else "No difference"
    yield paragraph(f"{others} is significant (t test paired by seed, Holm's correction).")


def _paired(pair: PairedResult) -> Html:
    return paragraph(
        f"Wrong only with {pair.other}: {count(pair.only_other_wrong, 'image')}; wrong only with {pair.first}: "
        f"{pair.only_first_wrong:,} (McNemar's exact p {pair.mcnemar_p:.3f}). Difference of log loss, "
        f"{pair.other} minus {pair.first}: {number(pair.log_loss_difference)}."
    )


def _interval(mean: SeedMean) -> Interval:
    """Convert to an interval; a single seed gives a point."""
    low, high = (mean.value if end is None else end for end in (mean.low, mean.high))
    return Interval(value=mean.value, low=low, high=high)


def _shortened(runs: dict[str, Interval]) -> dict[str, Interval]:
    """Shorten the runs to their folder names if these are unique."""
    short = {Path(run).name: one for run, one in runs.items()}
    return short if len(short) == len(runs) else runs
