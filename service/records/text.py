"""Names of callers as both databases take them."""

import re

_UNFIT = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The same text; U+FFFD for what PostgreSQL keeps in no text (NUL), and nobody in UTF-8 (half a pair)."""
    return _UNFIT.sub("\ufffd", text)
