"""The tables of the page: the paper's figures beside those of the results."""

from collections.abc import Iterable, Sequence

from training.evaluation.seeds import SeedMean, ValueSummary
from training.paper import published
from training.paper.results import (
    KINDS,
    TARGETS,
    LabelKind,
    PaperResults,
    SeriesName,
    Settings,
    model_name,
    model_names,
)

DASH = "-"
_SPLITS = ("train", "validation", "test")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table; all columns but the first are aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shown(summary: ValueSummary | None, metric: str) -> str:
    """Format the mean of a metric with its interval over the seeds; one seed has none."""
    mean: SeedMean | None = getattr(summary, metric, None)
    if mean is None:
        return DASH
    if mean.low is None or mean.high is None:
        return f"{mean.value:.3f}"
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def summaries(results: PaperResults, kind: LabelKind, name: SeriesName) -> dict[str, ValueSummary]:
    """Return the summaries of a series by value; empty if it has not started."""
    series = results.labels[kind].series.get(name)
    return {one.value: one for one in series.summaries} if series else {}


def data_table(results: PaperResults) -> str:
    """Show images, share of glasses and flipped labels of each split."""
    head = ("split", "images", "with glasses", "with glasses after flipping", "labels flipped")
    given, flipped = (results.labels[kind].splits for kind in KINDS)
    rows = (
        (
            split,
            f"{given[split].images:,}",
            f"{given[split].glasses / given[split].images:.3f}",
            f"{flipped[split].glasses / flipped[split].images:.3f}",
            f"{flipped[split].flipped} ({flipped[split].flipped / flipped[split].images:.3f})",
        )
        for split in _SPLITS
    )
    return table(head, rows)


def resolution_table(results: PaperResults) -> str:
    """Compare the validation accuracy at each resolution."""
    return _study_table(results, "resolution", published.RESOLUTION, first="resolution")


def batch_size_table(results: PaperResults) -> str:
    """Compare the validation accuracy with each batch size."""
    return _study_table(results, "batch-size", published.BATCH_SIZE, first="batch size")


def times_table(results: PaperResults) -> str:
    """Compare the computation time of each batch size."""
    head = ["batch size", "paper, s"]
    for name in KINDS.values():
        head += [f"{name}, s", "epochs"]
    rows = []
    for value, figure in published.BATCH_SIZE.items():
        cells = [value, f"{figure.seconds:g}"]
        for kind in KINDS:
            series = results.labels[kind].series.get("batch-size")
            runs = [run for run in series.runs if run.value == value] if series else []
            timed = [run.seconds for run in runs if run.seconds is not None]
            cells.append(f"{sum(timed) / len(timed):.0f}" if timed else DASH)
            cells.append(f"{sum(run.epochs for run in runs) / len(runs):.0f}" if runs else DASH)
        rows.append(cells)
    return table(head, rows)


def model_table(results: PaperResults, metric: str) -> str:
    """Compare the models on the test split by `accuracy` or `log_loss`."""
    head = ("model", "paper", *KINDS.values(), "flipped labels, against true labels", "seeds")
    by_kind = {kind: summaries(results, kind, "models") for kind in KINDS}
    rows = []
    for name in model_names(results.plan.trials):
        figure = paper_model(name)
        given, flipped = (by_kind[kind].get(name) for kind in KINDS)
        rows.append(
            (
                name,
                f"{getattr(figure, metric):.3f}" if figure else DASH,
                shown(given, metric),
                shown(flipped, metric),
                shown(flipped, f"true_{metric}"),
                _seeds(given, flipped),
            )
        )
    return table(head, rows)


def tuning_table(results: PaperResults) -> str:
    """Show the best trial of each search beside the first, on the validation split."""
    head = ("search", "labels", "log loss, untuned", "log loss, best", "accuracy, best", "best settings")
    rows = []
    for target in TARGETS:
        for trials in results.plan.trials:
            for kind, labels in KINDS.items():
                outcome = results.labels[kind].tuning.get(target, {}).get(trials)
                cells: tuple[str, ...] = (DASH,) * 4
                if outcome:
                    figures = (
                        f"{number:.3f}" for number in (outcome.first_log_loss, outcome.log_loss, outcome.accuracy)
                    )
                    cells = (*figures, _changed(outcome.settings, results.settings["search"]))
                rows.append((f"{target.replace('-', ' ')}, {trials} trials", labels, *cells))
    return table(head, rows)


def files_table(results: PaperResults) -> str:
    """Compare the size of one TFRecord file and of all of them."""
    head = ("resolution", "paper, one file", "ours, one file", "ours, all files")
    rows = []
    for size, files in results.files.items():
        figure = published.RESOLUTION[str(size)]
        sizes = (f"{count / 1e6:.1f} MB" for count in (files.bytes, files.total_bytes))
        rows.append((f"{size} x {size}", f"{figure.megabytes:g} MB", *sizes))
    return table(head, rows)


def paper_model(name: str) -> published.Figure | None:
    """Return the paper's figures of a model; its searches had 5 trials."""
    tuned = {model_name(target, published.TRIALS): f"tuned {target.replace('-', ' ')}" for target in TARGETS}
    return published.MODELS.get(tuned.get(name, name))


def _study_table(results: PaperResults, name: SeriesName, figures: dict[str, published.Figure], *, first: str) -> str:
    head = (first, "paper", *KINDS.values(), "flipped labels, against true labels", "seeds")
    by_kind = {kind: summaries(results, kind, name) for kind in KINDS}
    rows = []
    for value, figure in figures.items():
        given, flipped = (by_kind[kind].get(value) for kind in KINDS)
        rows.append(
            (
                f"{value} x {value}" if name == "resolution" else value,
                f"{figure.accuracy:g}",
                shown(given, "accuracy"),
                shown(flipped, "accuracy"),
                shown(flipped, "true_accuracy"),
                _seeds(given, flipped),
            )
        )
    return table(head, rows)


def _seeds(*compared: ValueSummary | None) -> str:
    counts = [str(summary.runs if summary else 0) for summary in compared]
    return counts[0] if len(set(counts)) == 1 else " and ".join(counts)


def _changed(settings: Settings, start: Settings) -> str:
    """List the settings of a trial that differ from the first one's."""
    changed = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if value != start[name]]
    return ", ".join(changed) or "untuned"
