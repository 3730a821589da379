"""A version of the model with another band: the graph of the current one, and a card with the new certificate."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from gate import Card, Label, Model, ModelError
from gate.card import METADATA_KEY, CardBand, CardClass, CardText, CardVerdicts
from lensgate.graph_metadata import with_metadata
from service.review.recertify import ClassRecertificate, Recertificate
from service.review.served_version import ServedVersion


def with_band(model: Model, certificate: Recertificate, served: ServedVersion, *, version: str, command: str) -> Model:
    """Return the model as a new version with the certified band.

    Figures of the old card that depend on its band are left out: coverage and selective accuracy of the test splits,
    and the discard rates of non-portraits.

    Args:
        model: the version that the verdicts are about.
        certificate: by the verdicts.
        served: the version and the band that the verdicts are about.
        version: the new version.
        command: the command that certified the band, for the card.

    Raises:
        ModelError: the certificate is about a single source, or certifies no label.
    """
    if certificate.source is not None:
        raise ModelError(
            f"the certificate is about the source {certificate.source!r} alone, and a band holds for all images: leave "
            "--source out"
        )
    if not any(each.certified for each in certificate.classes.values()):
        raise ModelError("no label is certified, so there is no band to export: judge more audit images at /review")
    text = _card(model.card, _band(certificate, served), version=version, command=command)
    graph = with_metadata(model.graph, METADATA_KEY, text.model_dump_json())
    return Model(Card(**dict(text), sha256=hashlib.sha256(graph).hexdigest()), graph)


def lost_promises(card: Card, certificate: Recertificate) -> list[Label]:
    """Return the labels that the card certifies and the verdicts do not."""
    promised = [label for label, each in (card.band.classes or {}).items() if each.certified]
    return [label for label in promised if not certificate.classes[label].certified]


def _band(certificate: Recertificate, served: ServedVersion) -> CardBand:
    classes = certificate.classes.values()
    is_complete = all(each.certified for each in classes)
    return CardBand(
        low=certificate.band.low,
        high=certificate.band.high,
        chosen_by="certified",
        target_risk=max(each.target_risk for each in classes) if is_complete else None,
        confidence=certificate.confidence,
        accepted=sum(each.images for each in classes),
        errors=sum(each.errors for each in classes),
        folds=1,
        classes={label: _class(each) for label, each in certificate.classes.items()},
        verdicts=CardVerdicts(
            version=served.version,
            low=served.band.low,
            high=served.band.high,
            evidence={label: each.evidence for label, each in certificate.classes.items()},
        ),
    )


def _class(certificate: ClassRecertificate) -> CardClass:
    return CardClass(
        certified=certificate.certified,
        target_risk=certificate.target_risk,
        accepted=certificate.images,
        errors=certificate.errors,
        bound=certificate.bound,
        images_needed=certificate.labels_needed,
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
