"""The statements of the page, each computed from the results or from the paper's figures."""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from common.terminal import p_value
from training.evaluation.seeds import standard_error
from training.paper import noise, published
from training.paper.results import KINDS, PaperResults, Series, SeriesName, model_names
from training.paper.tables import summaries

TITLES: Mapping[SeriesName, str] = {
    "resolution": "resolution, validation split",
    "batch-size": "batch size, validation split",
    "models": "models, test split",
}
_PAPER: Mapping[SeriesName, Mapping[str, published.Figure]] = {
    "resolution": published.RESOLUTION,
    "batch-size": published.BATCH_SIZE,
    "models": published.MODELS,
}
SIGNIFICANT = 1.96
"""Standard errors beyond which one difference, tested alone, is significant at 5 %."""


def paper_floor() -> list[str]:
    """State what the paper's wrong labels allow."""
    wrong, untuned = published.WRONG_LABELS / published.IMAGES, published.MODELS["untuned"]
    right, images = 1 - wrong, _paper_images()
    losses = [figure.log_loss for figure in published.MODELS.values() if figure.log_loss is not None]
    even, one_sided = noise.entropy(wrong), noise.one_sided_floor(wrong, published.GLASSES)
    error = standard_error(untuned.accuracy, images)
    away = abs(untuned.accuracy - right) / error
    raw, cleaned = published.RAW_LABELS, published.CLEANED_LABELS
    return [
        f"A hand count found {published.WRONG_LABELS} of the paper's {published.IMAGES:,} labels wrong, a share of "
        f"{wrong:.3f}. A network that is right about every image agrees with {right:.3f} of such labels. The paper's "
        f"untuned network reached {untuned.accuracy:.3f}, which is {away:.1f} standard errors "
        f"away ({error:.3f} on {images} images): it sits on the floor of the label noise. No resolution, batch "
        "size or tuning makes a network better than right; a higher figure is chance, or repeats the errors of the "
        "labels.",
        "The lowest log loss with as many wrong labels on both sides is their entropy, "
        f"-({wrong:.3f} ln {wrong:.3f} + {right:.3f} ln {right:.3f}) = {even:.3f}. The paper's networks reached "
        f"{min(losses):.3f} to {max(losses):.3f}. Below {even:.3f} is possible if the wrong labels are mostly on one "
        "side: the labels are what was asked of the generator, which may leave glasses out more often than it adds "
        f"them. With all wrong labels among the {published.GLASSES:.3f} that say glasses the lowest log loss is "
        f"{one_sided:.3f}, at the same accuracy of {right:.3f}. The untuned network's {untuned.log_loss:.3f} is above "
        "both: its errors are confident.",
        f"Another project reached an accuracy of {raw[0]:.3f} and a log loss of {raw[1]:.3f} with the same labels, and "
        f"{cleaned[0]:.3f} and {cleaned[1]:.3f} after {published.WRONG_LABELS} images had been removed by hand.",
    ]


def paper_differences() -> list[str]:
    """State the largest difference of each of the paper's tables in standard errors."""
    accuracies, images = [figure.accuracy for figure in published.RESOLUTION.values()], _paper_images()
    largest = {name: _largest_gap(figures, images) for name, figures in _PAPER.items()}
    texts = [
        f"{TITLES[name].partition(',')[0]} {abs(a - b):.3f}, {errors:.1f} standard errors"
        for name, (a, b, errors) in largest.items()
    ]
    top = max(errors for *_, errors in largest.values())
    verdict = "None is significant" if top < SIGNIFICANT else "The largest is significant on its own"
    return [
        "The paper ran everything once, and the sizes of its splits are not known here. "
        f"{', '.join(f'{one:.4f}' for one in accuracies[:-1])} and {accuracies[-1]:.4f} are all rounded fractions of "
        f"{images} images, a fifth of {published.IMAGES:,}, and of no smaller number. One accuracy of "
        f"{accuracies[0]:.3f} on {images} images has a standard error of {standard_error(accuracies[0], images):.4f}. "
        f"With so many images, the largest differences of its three tables are: {'; '.join(texts)} of a difference. "
        f"{verdict}, and fewer images would make them smaller still."
    ]


def our_floor(results: PaperResults) -> Iterator[str]:
    """Compare the models on flipped test labels with the floor, and with the same models on true labels."""
    by_model = summaries(results, "flipped", "models")
    if not by_model:
        return
    test = results.labels["flipped"].splits["test"]
    wrong = test.flipped / test.images
    error = standard_error(1 - wrong, test.images)
    seen = {name: one.accuracy.value for name, one in by_model.items()}
    true = {name: one.true_accuracy.value for name, one in by_model.items() if one.true_accuracy}
    losses = [one.log_loss.value for one in by_model.values()]
    predicted = max(abs(noise.seen_accuracy(true[name], wrong) - seen[name]) for name in true)
    yield (
        f"With {test.flipped} of {test.images} test labels flipped, perfect answers would score {1 - wrong:.3f} "
        f"(standard error {error:.3f}). Our networks, trained on flipped labels as well, score {_range(seen.values())} "
        f"against flipped labels. Against the true labels of the same images the same networks score "
        f"{_range(true.values())}. An accuracy a on true labels appears as a (1 - s) + (1 - a) s if a share s is "
        f"flipped; this is within {predicted:.3f} of every figure measured."
    )
    even = noise.entropy(wrong)
    yield (
        f"Their log loss against flipped labels is {_range(losses)}, where {even:.3f} is the floor. "
        + _overfitted(results)
    )
    clean = summaries(results, "given", "models")
    if clean:
        accuracy, losses = (
            [getattr(one, metric).value for one in clean.values()] for metric in ("accuracy", "log_loss")
        )
        yield (
            f"Trained and measured with the labels as they are, the paper's network and its tuned variants reach "
            f"{_range(accuracy)} and a log loss of {_range(losses)}."
        )


def precision(results: PaperResults, name: SeriesName) -> str:
    """State the standard error of one accuracy, which more seeds do not reduce."""
    errors = {}
    for kind, labels in KINDS.items():
        if by_value := summaries(results, kind, name):
            worst = max(by_value.values(), key=lambda one: one.standard_error)
            errors[labels] = f"{worst.standard_error:.3f} with {labels}", worst.images
    if not errors:
        return "No run is finished."
    images = max(count for _, count in errors.values())
    texts = " and ".join(text for text, _ in errors.values())
    return f"One accuracy on {images} images has a standard error of up to {texts}, which more seeds do not reduce."


def our_differences(results: PaperResults) -> Iterator[str]:
    """List the significant differences of each series, or state that there are none."""
    for kind, labels in KINDS.items():
        for name, title in TITLES.items():
            series = results.labels[kind].series.get(name)
            if series is None:
                continue
            yield f"- {title}, {labels}: {_verdict(series)}"


def tuned_or_not(results: PaperResults) -> Iterator[str]:
    """Say whether tuning helped on the test split."""
    for kind, labels in KINDS.items():
        by_model = summaries(results, kind, "models")
        series = results.labels[kind].series.get("models")
        names = [name for name in model_names(results.plan.trials) if name in by_model and name != "untuned"]
        if series is None or not names or "untuned" not in by_model:
            continue
        start, best = by_model["untuned"], max(names, key=lambda name: by_model[name].accuracy.value)
        gain = by_model[best].accuracy.value - start.accuracy.value
        error = standard_error(start.accuracy.value, start.images)
        losses = min(names, key=lambda name: by_model[name].log_loss.value)
        yield (
            f"With {labels}, the best tuned model by accuracy ({best}) is {_more(gain)} than the untuned one, "
            f"{abs(gain) / error:.1f} standard errors of one accuracy on {start.images} images; the lowest log loss of "
            f"a tuned one ({losses}) is {by_model[losses].log_loss.value:.3f}, the untuned one's "
            f"{start.log_loss.value:.3f}."
        )


def _verdict(series: Series) -> str:
    seeds = min(one.runs for one in series.summaries)
    if len(series.summaries) < 2:
        return f"only {series.summaries[0].value} is finished"
    if seeds < 2:
        return "one seed, so that differences cannot be tested"
    real = [difference for difference in series.differences if difference.real]
    if not real:
        return f"no difference is significant ({seeds} seeds)"
    texts = []
    for each in real:
        low, high = each.ordered
        metric = each.metric.replace("_", " ")
        texts.append(f"{metric} is {abs(each.mean):.3f} higher with {high} than with {low} ({p_value(each.p)})")
    return f"{'; '.join(texts)} ({seeds} seeds); no other difference is significant"


def _overfitted(results: PaperResults) -> str:
    history = results.labels["flipped"].history
    if not history:
        return ""
    losses, best = history["val_loss"], min(history["val_loss"])
    return (
        f"The untuned network memorises flipped labels: in epoch {len(losses)} its training accuracy is "
        f"{history['accuracy'][-1]:.3f} and its validation loss {losses[-1]:.3f}, after {best:.3f} in epoch "
        f"{losses.index(best) + 1}."
    )


def _paper_images() -> int:
    """Return the smallest validation split that fits the four digits of the paper's resolution study."""
    return noise.smallest_count(tuple(figure.accuracy for figure in published.RESOLUTION.values()), 4)


def _largest_gap(figures: Mapping[str, published.Figure], images: int) -> tuple[float, float, float]:
    pairs = combinations([figure.accuracy for figure in figures.values()], 2)
    first, second = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    return first, second, noise.difference_in_errors(first, second, images)


def _range(values: Collection[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def _more(gain: float) -> str:
    return f"{abs(gain):.3f} {'more' if gain > 0 else 'less'} accurate"
