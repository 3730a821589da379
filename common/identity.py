"""The rule for callers' ids and sources."""

import re

ID_RULE = "1 to 128 characters, without control characters, line separators and marks that turn the writing direction"
"""`ID_PATTERN` in words."""

# Ids appear in logs, tables and pages, where they must not end a line, move the cursor or reorder the text.
ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{1,128}$"

# Lone surrogates, from JSON or from bytes that are not UTF-8, cannot be written; in JavaScript they form emojis.
_ID = re.compile(ID_PATTERN.replace("]", r"\ud800-\udfff]").removesuffix("$") + r"\Z")


def is_identity(text: str) -> bool:
    """Return whether `text` is a valid id of an image or a V2 request, or a valid source."""
    return _ID.match(text) is not None
