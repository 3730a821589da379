"""Suggest the known name that a misspelt one probably meant."""

import difflib
from collections.abc import Collection


def did_you_mean(given: str, known: Collection[str]) -> str:
    """Return `: did you mean X?` with the known name that is most like `given`, or an empty text."""
    nearest = difflib.get_close_matches(given, known, n=1)
    return f": did you mean {nearest[0]}?" if nearest else ""
