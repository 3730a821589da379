"""Quote caller-supplied and server-supplied values in error texts: bounded and printable."""

import reprlib

MAX_CHARACTERS = 2_000
"""Limit of one error text, quotations included."""

_QUOTED_CHARACTERS = 80
_bounded = reprlib.Repr()
_bounded.maxstring = _bounded.maxother = _QUOTED_CHARACTERS


def quoted(value: object) -> str:
    """Return `repr(value)`; shorten a long value to its beginning and its length."""
    if isinstance(value, str | bytes | bytearray):
        unit = "characters" if isinstance(value, str) else "bytes"
        if len(value) <= _QUOTED_CHARACTERS:
            return repr(value)
        return f"{value[:_QUOTED_CHARACTERS]!r}... ({len(value):,} {unit})"
    return truncated(_bounded.repr(value), 2 * _QUOTED_CHARACTERS)


def truncated(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return at most `limit` characters of `text`; an ellipsis marks a shortened text."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def single_line(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` on one line without control characters, which could forge log lines or drive a terminal."""
    head = text[: 4 * limit]
    return truncated(" ".join("".join(letter if letter.isprintable() else " " for letter in head).split()), limit)
