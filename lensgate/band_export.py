"""A version of the model with another band: the graph of the current one, and a card with the new certificate."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from gate import Card, Label, Model, ModelError
from gate.card import METADATA_KEY, CardBand, CardClass, CardText, CardVerdicts
from lensgate.graph_metadata import with_metadata
from service.review.recertify import ClassRecertificate, Recertificate
from service.review.served_version import ServedVersion


def with_band(model: Model, found: Recertificate, served: ServedVersion, *, version: str, command: str) -> Model:
    """Return the model as a new version with the certified band.

    Figures of the old card that depend on its band are left out: coverage and selective accuracy of the test splits,
    and the discard rates of non-portraits.

    Args:
        model: the version that the verdicts are about.
        found: the certificate by the verdicts.
        served: the version and the band that the verdicts are about.
        version: the new version.
        command: the command that certified the band, for the card.

    Raises:
        ModelError: the certificate is about a single source, or certifies no label.
    """
    if found.source is not None:
        raise ModelError(
            f"the certificate is about the source {found.source!r} alone, and a band holds for all images: leave "
            "--source out"
        )
    if not any(one.certified for one in found.classes.values()):
        raise ModelError("no label is certified, so there is no band to export: judge more audit images at /review")
    text = _card(model.card, _band(found, served), version=version, command=command)
    graph = with_metadata(model.graph, METADATA_KEY, text.model_dump_json())
    return Model(Card(**dict(text), sha256=hashlib.sha256(graph).hexdigest()), graph)


def lost_promises(card: Card, found: Recertificate) -> list[Label]:
    """Return the labels that the card certifies and the verdicts do not."""
    promised = [label for label, one in (card.band.classes or {}).items() if one.certified]
    return [label for label in promised if not found.classes[label].certified]


def _band(found: Recertificate, served: ServedVersion) -> CardBand:
    classes = found.classes.values()
    is_complete = all(one.certified for one in classes)
    return CardBand(
        low=found.band.low,
        high=found.band.high,
        chosen_by="certified",
        target_risk=max(one.target_risk for one in classes) if is_complete else None,
        confidence=found.confidence,
        accepted=sum(one.images for one in classes),
        errors=sum(one.errors for one in classes),
        folds=1,
        classes={label: _class(one) for label, one in found.classes.items()},
        verdicts=CardVerdicts(
            version=served.version,
            low=served.band.low,
            high=served.band.high,
            evidence={label: one.evidence for label, one in found.classes.items()},
        ),
    )


def _class(one: ClassRecertificate) -> CardClass:
    return CardClass(
        certified=one.certified,
        target_risk=one.target_risk,
        accepted=one.images,
        errors=one.errors,
        bound=one.bound,
        images_needed=one.labels_needed,
    )


def _card(card: Card, band: CardBand, *, version: str, command: str) -> CardText:
    fields: dict[str, Any] = card.text().model_dump()
    for metrics in fields["metrics"].values():
        metrics.update(coverage=None, selective_accuracy=None)
    if fields["novelty_threshold"] is not None:
        fields["novelty_threshold"]["kinds"] = {}
    fields["training"]["commands"] = (*card.training.commands, command)
    changes = {"version": version, "created": datetime.now(UTC).replace(microsecond=0), "band": band.model_dump()}
    return CardText.model_validate(fields | changes)
