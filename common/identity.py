"""The rule for callers' ids and sources."""

import re
import unicodedata

ID_RULE = (
    "1 to 128 characters, not all blank, without control characters, line separators and marks that turn the writing "
    "direction"
)
"""The rule in words."""

# Ids appear in logs, tables and pages, where they must not end a line, move the cursor or reorder the text. The rule
# about blanks is left out: it needs a lookahead, which not every language that reads the OpenAPI document has.
ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{1,128}$"

# Lone surrogates, from JSON or from bytes that are not UTF-8, cannot be written; in JavaScript they form emojis.
_ID = re.compile(ID_PATTERN.replace("]", r"\ud800-\udfff]").removesuffix("$") + r"\Z")


def is_identity(text: str) -> bool:
    """Return whether `text` is a valid id of an image or a V2 request, or a valid source."""
    return _ID.match(text) is not None and not _is_blank(text)


def _is_blank(text: str) -> bool:
    # A link to a name of blanks and zero-width characters could neither be seen nor read aloud.
    return all(unicodedata.category(each) in {"Zs", "Cf"} for each in text)
