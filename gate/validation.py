"""Describe an invalid value in plain words: the requirement and the value given."""

import re
from collections.abc import Mapping
from typing import Any

_MAX_SHOWN = 40
"""Longest value that is shown: numbers, times and choices are shorter, and tokens longer."""

_MUST_BE = "must be "

_TEXTS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "is not known",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "frozen_set_type": "must be a list",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "has too many digits",
    "int_type": "must be an integer",
    "list_type": "must be a list",
    "missing": "is required",
    "model_attributes_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "string_type": "must be text",
}
_SHOULD = re.compile(r"^(?:Input|String|List|Tuple|Value) should ")
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


def is_number(value: object) -> bool:
    """Whether pydantic would read a time as seconds or milliseconds since 1970, so 20261130 as a day in 1970."""
    if not isinstance(value, str):
        return isinstance(value, int | float)
    try:
        float(value)
    except ValueError:
        return False
    return True


def _text(fault: Mapping[str, Any]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    match kind:
        case _ if kind in _TEXTS:
            text = _TEXTS[kind]
        case _ if kind in _LIMITS:
            words, name = _LIMITS[kind]
            limit = context[name]
            text = f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
        case "string_pattern_mismatch" if context["pattern"] in _PATTERNS:
            text = _PATTERNS[context["pattern"]]
        case "datetime_type" | "datetime_parsing" | "datetime_from_date_parsing":
            text = f"must be a time, {_EXAMPLE}"
        case "timezone_aware":
            text = f"must be a time with its zone, {_EXAMPLE}"
        case "is_instance_of":
            text = f"must be a {context['class']}"
        case "value_error":  # Of a validator of this project.
            text = str(context["error"])
        case _:
            text = _SHOULD.sub("must ", fault["msg"]).replace(" after validation", "")
    return text


def _value(fault: Mapping[str, Any]) -> str:
    """Return the value where it was of the wrong kind or out of range: other values may be long, or hold a password."""
    kind, value = fault["type"], fault.get("input")
    is_shown = kind in _LIMITS or kind in {"enum", "literal_error"} or kind.endswith("_parsing")
    if not is_shown or not isinstance(value, str | int | float):
        return ""
    if not isinstance(value, str):
        return f", not {value!r:.{_MAX_SHOWN}}"
    # A value of another setting may stand here by mistake, such as a token or the URL of a database.
    return "" if len(value) > _MAX_SHOWN or "://" in value else f", not {value!r}"
