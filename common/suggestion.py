"""Suggest the known name that a misspelt one probably meant."""

import difflib
from collections.abc import Collection


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return `: did you mean X?` with the known name that is most like `name`, or an empty text."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {nearest[0]}?" if nearest else ""
