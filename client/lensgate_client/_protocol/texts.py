"""Bounded texts for errors: what a caller gave and what a server answered, cut and made printable."""

import reprlib

MOST_CHARACTERS = 2_000
"""Of one error's text, whatever it quotes."""

_SHOWN = 80
_quick = reprlib.Repr()
_quick.maxstring = _quick.maxother = _SHOWN


def shown(value: object) -> str:
    """`value` as Python writes it; of a long one the beginning and the length."""
    if isinstance(value, str | bytes | bytearray):
        unit = "characters" if isinstance(value, str) else "bytes"
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}... ({len(value):,} {unit})"
    return cut(_quick.repr(value), 2 * _SHOWN)


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most `most` characters of `text`, and a mark where there are more."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """`text` in one line, without control characters, which a terminal would obey and a log would break at."""
    begin = text[: 4 * most]
    return cut(" ".join("".join(letter if letter.isprintable() else " " for letter in begin).split()), most)
