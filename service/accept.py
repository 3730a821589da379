"""The media types that a caller accepts (RFC 9110, 12.5.1)."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """One part of an `Accept` header; `version` is a parameter of the media type `name`, empty if missing."""

    name: str
    version: str
    weight: float


def read_accept(header: str) -> Iterator[Accepted]:
    """Yield the parts of an `Accept` header, in its order."""
    for part in header.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        pairs = (each.partition("=") for each in parameters)
        values = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        yield Accepted(name, values.get("version", ""), _number(values.get("q", "1")))


def _number(weight: str) -> float:
    try:
        return float(weight)
    except ValueError:
        return 0.0
