"""The charts of the page."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gate.card import Interval
from training.figures import curve
from training.figures.paper_charts import repeated_chart
from training.paper import noise, published
from training.paper.results import KINDS, PaperResults, SeriesName, model_names
from training.paper.tables import paper_model, summaries

_SUBJECTS: Mapping[SeriesName, str] = {
    "resolution": "edge in pixels",
    "batch-size": "images a batch",
    "models": "model",
}


def charts(results: PaperResults) -> dict[str, Figure]:
    """Draw every chart for which there are results, by file name without ending."""
    drawn: dict[str, Figure] = {}
    studies: dict[SeriesName, Mapping[str, published.Figure]] = {
        "resolution": published.RESOLUTION,
        "batch-size": published.BATCH_SIZE,
    }
    for name, figures in studies.items():
        paper = {value: figure.accuracy for value, figure in figures.items()}
        drawn |= _chart(results, name, metric="accuracy", rows=list(figures), paper=paper)
    models = model_names(results.plan.trials)
    known = {name: figure for name in models if (figure := paper_model(name))}
    accuracies = {name: figure.accuracy for name, figure in known.items()}
    losses = {name: figure.log_loss for name, figure in known.items() if figure.log_loss is not None}
    drawn |= _chart(results, "models", metric="accuracy", rows=models, paper=accuracies)
    drawn |= _chart(results, "models", metric="log_loss", rows=models, paper=losses)
    if history := results.labels["flipped"].history:
        drawn["overfitting"] = curve(history, "loss", kept=len(history["loss"]))
    return drawn


def _chart(
    results: PaperResults, name: SeriesName, *, metric: str, rows: Sequence[str], paper: Mapping[str, float]
) -> dict[str, Figure]:
    share = results.plan.share
    floor = 1 - share if metric == "accuracy" else noise.entropy(share)
    series: dict[str, dict[str, Interval]] = {}
    for kind, labels in KINDS.items():
        by_value = summaries(results, kind, name)
        series[labels] = {value: getattr(summary, metric).interval() for value, summary in by_value.items()}
    flipped = summaries(results, "flipped", name)
    true = {value: mean for value, summary in flipped.items() if (mean := getattr(summary, f"true_{metric}"))}
    series["flipped, against true labels"] = {value: mean.interval() for value, mean in true.items()}
    series = {labels: intervals for labels, intervals in series.items() if intervals}
    if not series:
        return {}
    shown = [row for row in rows if any(row in values for values in (paper, *series.values()))]
    quantity = metric.replace("_", " ")
    label = f"floor of the noise, {floor:.3f}"
    figure = repeated_chart(
        shown, series, paper=paper, subject=_SUBJECTS[name], quantity=quantity, floor=(label, floor)
    )
    return {f"{name}-{metric.replace('_', '-')}": figure}
