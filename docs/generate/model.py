"""The figures of the current model, from its card."""

from pathlib import Path

from common.terminal import percent_up
from docs.generate.markdown import code, table
from gate import ModelStore
from gate.card import Card, Interval


def current_card() -> Card:
    """Return the card of the version that a checkout serves."""
    return ModelStore(Path(__file__).parents[2] / "models").load().card


def promise(card: Card) -> str:
    """Show the certificate of each label: the calibration faces that were accepted with it, and the wrong ones."""
    band = card.band
    rows = []
    for label, part in (band.classes or {}).items():
        promised = f"at most {100 * part.target_risk:.10g} %" if part.certified else "none"
        truth = part.true_class
        truly = f"{truth.errors:,} of {truth.accepted:,}, at most {percent_up(truth.bound):.2f} %" if truth else "-"
        bound = f"{percent_up(part.bound):.2f} %"
        rows.append([code(label), promised, f"{part.accepted:,}", f"{part.errors:,}", bound, truly])
    columns = ["accepted as", "promised errors", "accepted faces", "wrong", "bound", "wrong among those that truly are"]
    accepted = _percent(band.coverage or 0, 1)
    text = (
        f"The band of version {card.version} is {band.low:g} to {band.high:g}. It accepts {accepted} of the faces,\n"
        f"scored by {band.folds} networks. Each bound holds with confidence {band.confidence}."
    )
    return f"{text}\n\n{table(columns, rows)}"


def splits(card: Card) -> str:
    """Show the quality on each test split, with 95 % intervals."""
    rows = []
    for name, metrics in card.metrics.items():
        cells = [_interval(metrics.accuracy, 3), _interval(metrics.log_loss, 4)]
        shares = [_interval(share, 3) if share else "-" for share in (metrics.coverage, metrics.unfamiliar)]
        rows.append([code(name), f"{metrics.images:,}", *cells, *shares])
    return table(["test split", "images", "accuracy", "log loss", "accepted", "unfamiliar"], rows)


def novelty(card: Card) -> str:
    """Show the share of each kind of outlier that is discarded, the lowest first."""
    kinds = card.novelty_threshold.kinds if card.novelty_threshold else {}
    ordered = sorted(kinds.items(), key=lambda kind: (kind[1].discarded.value, kind[0]))
    rows = [
        [name, _interval(one.discarded, 3), _interval(one.unfamiliar, 3), f"{one.images:,}"] for name, one in ordered
    ]
    return table(["kind", "discarded", "discarded as unfamiliar", "images"], rows)


def _interval(interval: Interval, digits: int) -> str:
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"
