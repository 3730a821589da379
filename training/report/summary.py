"""The top of the page: what the model is and whether it is any good, in a few sentences and one table."""

from gate.card import Card
from training.evaluation.certify import describe
from training.report.evidence import Evidence
from training.report.formatting import count, edges, percent, share
from training.report.formatting import number as number_of
from training.report.page import Html, element, facts, joined, table


def summary(evidence: Evidence) -> Html:
    """Title, verdict, the figures of each test split, and what the gate promises."""
    card = evidence.card
    created = f"{card.created:%d %B %Y}".lstrip("0")
    return joined(
        element("p", "Lensgate · report of a model", class_="over"),
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
        element("p", element("strong", "Certificate. "), _promise(evidence)),
        element("p", element("strong", "Unfamiliar images. "), _novelty(card)),
    )


def _metrics(evidence: Evidence) -> Html:
    """The card's figures, a row a test split, those that something is promised of first."""
    metrics = evidence.card.metrics
    head = (
        "test split",
        "images",
        "accuracy [95 %]",
        "log loss [95 %]",
        "kept [95 %]",
        "right among the kept [95 %]",
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
    """The accuracy of always giving the commoner label to the test split of a data set."""
    labels = next(data.images["test"] for data in evidence.card.data if data.name == name)
    return max(labels.values()) / sum(labels.values())


def _verdict(evidence: Evidence, name: str) -> str:
    found = evidence.card.metrics[name]
    first = (
        f"On the {count(found.images, 'test image')} of {name} the label is right in {percent(found.accuracy.value)}; "
        f"always giving the commoner label would reach {percent(baseline(evidence, name))}."
    )
    if found.selective_accuracy is None:
        return f"{first} The gate keeps nothing."
    wrong = percent(1 - found.selective_accuracy.value)
    return f"{first} The gate keeps {percent(found.coverage.value)}, and of those {wrong} are labelled wrongly."


def _chosen(card: Card) -> str:
    return "the paper's" if card.band.chosen_by == "paper" else "certified"


def _promise(evidence: Evidence) -> str:
    if evidence.certified is None:
        return "None: the band was not certified, so that nothing is promised of the images that are kept."
    return describe(evidence.certified.certificate, temperature=evidence.card.calibration.temperature)


def _novelty(card: Card) -> str:
    threshold = card.novelty_threshold
    if threshold is None:
        return (
            "The model does not judge how unlike its training an image is: it is sure of itself on a black image too."
        )
    said = f"Novelty above {threshold.value:.4g} is discarded as unfamiliar: {threshold.chosen_by}."
    if not threshold.kinds:
        return said
    kinds = threshold.kinds.values()
    images = sum(one.images for one in kinds)
    discarded = percent(sum(one.images * one.discarded.value for one in kinds) / images)
    return (
        f"{said} Of {images:,} images that are no portrait, of {count(len(kinds), 'kind')}, {discarded} are discarded."
    )
