"""What the generator was asked for, read from the `.json` of a WebDataset sample."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulk.errors import InvalidExpected, RowError
from bulk.sources.sample import read_label
from gate import Label

MAX_JSON_BYTES = 2**22
"""Most bytes of a `.json` that is read for an order: what it takes in memory is up to 25 times as much."""

_JSON = "json"


def is_json(ending: str) -> bool:
    """Whether a member with this ending may hold an order."""
    return ending.lower().rpartition(".")[2] == _JSON


def too_long(size: int) -> InvalidExpected | None:
    """Return why a `.json` of `size` bytes is not read for an order, if it is not."""
    if size <= MAX_JSON_BYTES:
        return None
    return InvalidExpected(f"the sample's .json has {size:,} bytes: at most {MAX_JSON_BYTES:,} are read for an order")


def read_order(column: str, ending: str, members: Mapping[str, Sequence[bytes | RowError | None]]) -> Label | None:
    """Read the order of an image: the field `column` of its own `.json`, or else of its sample's. Null is none.

    Args:
        column: the field.
        ending: the image's: of `x.0.png` the own one is `x.0.json`, the sample's `x.json`.
        members: what the sample has, by endings in lower case.

    Raises:
        InvalidExpected: there is no `.json`, more than one, or none that holds the field with a label.
        RowError: its bytes cannot be had.
    """
    stem = ending.lower().rpartition(".")[0]
    found = (members.get(f"{stem}.{_JSON}") if stem else None) or members.get(_JSON)
    if not found:
        raise InvalidExpected(
            f"no .json with {column!r} is beside the image: members of a sample have to follow each other in the tar"
        )
    if len(found) > 1:
        raise InvalidExpected("the sample has more than one .json: it is not known which holds")
    if isinstance(found[0], RowError):
        raise found[0]
    fields = _parse(found[0] or b"", column)
    if column not in fields:
        names = ", ".join(sorted(fields)[:20])[:200]
        raise InvalidExpected(f"the sample's .json has no field {column!r}, only {names}; null says that there is none")
    return read_label(fields[column])


def _parse(body: bytes, column: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if sum(key == column for key, _ in pairs) > 1:
            raise InvalidExpected(f"the sample's .json has the field {column!r} twice")
        return dict(pairs)

    try:
        fields = json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidExpected(f"the sample's .json cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidExpected("the sample's .json is no object")
    return fields
