"""The served version, and the promises of its card."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Table, literal

from gate import Band, Card, Label
from gate.card import CardClass


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """The served version, and the promises of its card, which hold for exactly its own band.

    `certified_risk` bounds the errors among all accepted images, if the card certifies that; `classes` holds the
    certificates of the labels, certified or not.
    """

    version: str
    band: Band
    certified_risk: float | None
    classes: Mapping[Label, CardClass] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card, band: Band) -> "ServedVersion":
        """Make it from a card and the band in use. A band set by the operator is not certified."""
        if not card.band.is_kept_by(band):
            return cls(card.version, band, None)
        return cls(card.version, band, card.band.target_risk, card.band.classes or {})

    def promised(self, label: Label) -> float | None:
        """Return the certified risk among the images accepted with the label; None without a certificate."""
        certificate = self.classes.get(label)
        return certificate.target_risk if certificate and certificate.certified else None

    def target(self, label: Label) -> float | None:
        """Return the risk that the card aims at for the label, certified or not; None if it has none."""
        certificate = self.classes.get(label)
        return certificate.target_risk if certificate else self.certified_risk

    def conditions(self, table: Table) -> Iterator[ColumnElement[bool]]:
        """Yield the SQL conditions for rows of this version and band."""
        yield table.c.version == self.version
        yield table.c.band_low == literal(self.band.low)
        yield table.c.band_high == literal(self.band.high)
