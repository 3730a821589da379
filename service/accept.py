"""What a caller accepts: media types and codings of the content (RFC 9110, 12.5.1 and 12.5.3)."""

from collections.abc import Container, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """One part of a header; `version` is a parameter of the media type `name`, empty if missing."""

    name: str
    version: str
    weight: float


def read_accept(header: str) -> Iterator[Accepted]:
    """Yield the parts of an `Accept` or `Accept-Encoding` header, in its order."""
    for part in header.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        pairs = (each.partition("=") for each in parameters)
        values = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        yield Accepted(name, values.get("version", ""), _number(values.get("q", "1")))


def preferred(header: str, names: Container[str]) -> str | None:
    """Return the one of `names` with the most weight, the first of several; None if the header accepts none of them."""
    accepted = [each for each in read_accept(header) if each.name in names and each.weight > 0]
    return max(accepted, key=lambda each: each.weight).name if accepted else None


def _number(weight: str) -> float:
    try:
        return float(weight)
    except ValueError:
        return 0.0
