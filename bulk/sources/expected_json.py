"""The requested label and the source, read from the `.json` of a WebDataset sample."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulk.errors import InvalidExpected, InvalidSource, RowError
from bulk.sources.sample import read_label, read_source
from gate import Label

MAX_JSON_BYTES = 2**22
"""Size limit of a parsed `.json`, which takes up to 25 times its size in memory."""

_JSON = "json"


def is_json(ending: str) -> bool:
    """Return whether a member with this ending may hold a requested label."""
    return ending.lower().rpartition(".")[2] == _JSON


def too_long(size: int) -> InvalidExpected | None:
    """Return an error if a `.json` of `size` bytes is too large to parse."""
    if size <= MAX_JSON_BYTES:
        return None
    return InvalidExpected(f"the sample's .json has {size:,} bytes: at most {MAX_JSON_BYTES:,} are read")


def read_expected(column: str, ending: str, members: Mapping[str, Sequence[bytes | RowError | None]]) -> Label | None:
    """Read the field `column` of an image's own `.json`, otherwise of its sample's. Null means that no label is set.

    Args:
        column: the field.
        ending: the image's ending: `x.0.png` has the own file `x.0.json`, and its sample `x.json`.
        members: the sample's `.json` members by lower-case ending.

    Raises:
        InvalidExpected: there is no `.json` or more than one, or the field is missing or not a label.
        RowError: the `.json` cannot be read.
    """
    bodies = _own_json(ending, members)
    if not bodies:
        raise InvalidExpected(
            f"the image has no .json with {column!r}: x.png needs x.json, and the members of a sample must be "
            "consecutive in the tar"
        )
    if len(bodies) > 1:
        raise InvalidExpected("the sample has more than one .json: keep the one with the label")
    if isinstance(bodies[0], RowError):
        raise bodies[0]
    fields = _parse(bodies[0] or b"", column)
    if column not in fields:
        names = ", ".join(sorted(fields)[:20])[:200]
        raise InvalidExpected(
            f"the sample's .json has no field {column!r}, only {names}; write null for an image without a label"
        )
    return read_label(fields[column])


def read_named_source(column: str, ending: str, members: Mapping[str, Sequence[bytes | RowError | None]]) -> str | None:
    """Read the source from the field `column`, with the arguments of `read_expected`; None where it is missing.

    Raises:
        InvalidSource: the `.json` is not valid, or the field is not a source.
        RowError: the `.json` cannot be read.
    """
    bodies = _own_json(ending, members)
    if not bodies:
        return None
    if isinstance(bodies[0], RowError):
        raise bodies[0]
    try:
        return read_source(_parse(bodies[0] or b"", column).get(column))
    except InvalidExpected as error:
        raise InvalidSource(str(error)) from None


def _own_json(
    ending: str, members: Mapping[str, Sequence[bytes | RowError | None]]
) -> Sequence[bytes | RowError | None] | None:
    stem = ending.lower().rpartition(".")[0]
    return (members.get(f"{stem}.{_JSON}") if stem else None) or members.get(_JSON)


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
        raise InvalidExpected("the sample's .json is not an object")
    return fields
