"""The summary at the top of the page: the model and its quality in a few sentences and one table."""

from common.terminal import count
from gate.card import Card
from training.evaluation.certificate_text import describe
from training.report.evidence import Evidence
from training.report.formatting import edges, percent, share
from training.report.formatting import number as number_of
from training.report.page import Html, element, facts, joined, table


def summary(evidence: Evidence) -> Html:
    """Build title, verdict, metrics of each test split, and guarantee."""
    card = evidence.card
    created = f"{card.created:%d %B %Y}".lstrip("0")
    return joined(
        element("p", "Lensgate · model report", class_="over"),
        element("h1", f"{card.name}, version {card.version}"),
        *(element("p", _verdict(evidence, name), class_="verdict") for name in evidence.own if name in card.metrics),
        _metrics(evidence),
        facts(
            [
                ("Exported", created),
                ("Input", f"{card.input.size} x {card.input.size} pixels, RGB"),
                ("Band", f"{edges(card.band)}, {_chosen(card)}"),
                ("Temperature", f"{card.calibration.temperature:.3f}"),
                ("Parameters", f"{card.training.parameters:,}"),
                ("Epochs", str(card.training.epochs)),
            ]
        ),
        element(
            "div",
            element("p", element("strong", "Certificate. "), _promise(evidence)),
            element("p", element("strong", "Unfamiliar images. "), _novelty(card)),
            class_="beside",
        ),
    )


def _metrics(evidence: Evidence) -> Html:
    """Build the table of the card's metrics, one row per test split, covered data sets first."""
    metrics = evidence.card.metrics
    head = (
        "test split",
        "images",
        "accuracy [95 %]",
        "log loss [95 %]",
        "coverage [95 %]",
        "accuracy if accepted [95 %]",
        "unfamiliar [95 %]",
    )
    rows = [
        (
            name,
            f"{one.images:,}",
            share(one.accuracy),
            number_of(one.log_loss),
            share(one.coverage),
            share(one.selective_accuracy),
            share(one.unfamiliar),
        )
        for name, one in sorted(metrics.items(), key=lambda item: (item[0] not in evidence.own, item[0]))
    ]
    return table(head, rows)


def baseline(evidence: Evidence, name: str) -> float:
    """Compute the accuracy of always predicting the majority label on the test split of a data set."""
    labels = next(data.images["test"] for data in evidence.card.data if data.name == name)
    return max(labels.values()) / sum(labels.values())


def _verdict(evidence: Evidence, name: str) -> str:
    metrics = evidence.card.metrics[name]
    first = (
        f"On the {count(metrics.images, 'test image')} of {name} the accuracy is {percent(metrics.accuracy.value)}; "
        f"always predicting the majority label would reach {percent(baseline(evidence, name))}."
    )
    if metrics.selective_accuracy is None or metrics.coverage is None:
        return f"{first} The gate accepts no image."
    wrong = percent(1 - metrics.selective_accuracy.value)
    return f"{first} The gate accepts {percent(metrics.coverage.value)}; {wrong} of these are labelled wrongly."


def _chosen(card: Card) -> str:
    if card.band.chosen_by == "paper":
        return "the paper's"
    promised = [label for label, one in (card.band.classes or {}).items() if one.certified]
    return f"certified for {promised[0]} alone" if len(promised) == 1 else "certified"


def _promise(evidence: Evidence) -> str:
    if evidence.certified is None:
        return "None: the band was not certified, so there is no guarantee for the accepted images."
    return " ".join(describe(evidence.certified.certificate, temperature=evidence.card.calibration.temperature))


def _novelty(card: Card) -> str:
    threshold = card.novelty_threshold
    if threshold is None:
        return "The model does not compute novelty, so it is confident even about a black image."
    said = f"Images with novelty above {threshold.value:.4g} are discarded as unfamiliar: {threshold.chosen_by}."
    if not threshold.kinds:
        return said
    kinds = threshold.kinds.values()
    images = sum(one.images for one in kinds)
    discarded = percent(sum(one.images * one.discarded.value for one in kinds) / images)
    return f"{said} Of {images:,} outliers of {count(len(kinds), 'kind')}, {discarded} are discarded."
