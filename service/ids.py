"""Callers' ids and sources as types, and ULIDs for images and requests without an id.

A ULID sorts by time: 48 bits of milliseconds and 80 random bits, in Crockford's base 32.
"""

import random
import re
import time
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from common.identity import ID_PATTERN, ID_RULE, is_identity

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def _checked_id(text: str) -> str:
    if not is_identity(text):
        raise ValueError(f"an id is {ID_RULE}")
    return text


def _checked_source(text: str) -> str:
    if not is_identity(text):
        raise ValueError(f"a source is {ID_RULE}; leave it out if it is not known")
    return text


Identity = Annotated[str, AfterValidator(_checked_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
"""The id of an image or of a request, chosen by its caller."""

Source = Annotated[str, AfterValidator(_checked_source), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
"""The generator, checkpoint or run that made an image, named by the caller."""


def is_request_id(text: str) -> bool:
    """Return whether `text` is a valid `X-Request-ID`: printable ASCII, as headers allow less than ids."""
    return _REQUEST_ID.fullmatch(text) is not None


def new_id() -> str:
    """Make a ULID of 26 characters. Ids are not secret, so a fast generator of random bits is enough."""
    return _write(time.time_ns() // 1_000_000 << 80 | random.getrandbits(80))


def least_id(milliseconds: int) -> str:
    """Return the smallest ULID of a time, in milliseconds since 1970; an earlier time counts as 0."""
    return _write(max(0, milliseconds) << 80)


def _write(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
