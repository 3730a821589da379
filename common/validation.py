"""Describe an invalid value in plain words: the requirement and the value given."""

from collections.abc import Mapping
from typing import Any

_MAX_SHOWN = 64
_MUST_BE = "must be "

_TEXTS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "extra_forbidden": "is not known",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "missing": "is required",
    "string_type": "must be text",
}
_EXAMPLE = "such as 2026-11-30T14:00:00Z"
_PATTERNS = {
    "^https?://": "must begin with http:// or https://",
    "^[0-9a-f]{64}$": "must be 64 hexadecimal digits in lower case",
    "^[0-9A-HJKMNP-TV-Z]{26}$": "must be a ULID of 26 characters, such as the `record` of a decision",
}
_LIMITS = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def explain(*faults: Mapping[str, Any]) -> str:
    """Return the requirement, and the value given unless it may be a secret.

    Args:
        faults: pydantic's errors about one value; several are the alternatives of a union.
    """
    texts = [_text(fault) for fault in faults]
    if len(texts) > 1 and all(text.startswith(_MUST_BE) for text in texts):
        texts = [_MUST_BE + " or ".join(dict.fromkeys(text.removeprefix(_MUST_BE) for text in texts))]
    return "; ".join(texts) + _value(faults[0])


def _text(fault: Mapping[str, Any]) -> str:
    kind = fault["type"]
    if kind in _TEXTS:
        return _TEXTS[kind]
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        limit = fault["ctx"][name]
        return f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
    if kind == "string_pattern_mismatch" and fault["ctx"]["pattern"] in _PATTERNS:
        return _PATTERNS[fault["ctx"]["pattern"]]
    if kind.startswith("datetime_"):
        return f"must be a time, {_EXAMPLE}"
    if kind == "timezone_aware":
        return f"must be a time with its zone, {_EXAMPLE}"
    text = str(fault["msg"]).removeprefix("Value error, ").replace(" after validation", "")
    for noun in ("Input", "String", "List", "Value"):
        text = text.replace(f"{noun} should ", "must ")
    return text


def _value(fault: Mapping[str, Any]) -> str:
    """Return the value where it was of the wrong kind or out of range: other values may be long, or hold a password."""
    kind, value = fault["type"], fault.get("input")
    is_shown = kind in _LIMITS or kind in {"enum", "literal_error"} or kind.endswith("_parsing")
    if not is_shown or not isinstance(value, str | int | float):
        return ""
    return f", not {value[:_MAX_SHOWN]!r}" if isinstance(value, str) else f", not {value}"
