"""Settings and the model's card, from their JSON schemas."""

import json
from typing import Any

from common.settings import PREFIX, flag
from docs.generate.markdown import code, table
from gate.card import Card
from service.settings import Settings

Schema = dict[str, Any]

_KINDS = {"integer": "integer", "number": "number", "boolean": "`true` or `false`", "string": "text", "null": ""}


def settings() -> str:
    """List the settings: variable and flag, default, values, meaning."""
    rows = []
    for name, field in Settings.model_json_schema()["properties"].items():
        default = field.get("default")
        shown = "-" if default in (None, "") else code(default if isinstance(default, str) else json.dumps(default))
        names = f"{code(PREFIX + name.upper())} {code(flag(name))}"
        rows.append([names, shown, _values(field), field["description"]])
    return table(["variable, flag", "default", "values", "meaning"], rows)


def card() -> str:
    """List the fields of the card; each part has a heading of its own."""
    whole = Card.model_json_schema()
    parts = {"Card": whole, **{name: part for name, part in whole["$defs"].items() if "properties" in part}}
    return "\n".join(_part(name, part, parts) for name, part in parts.items())


def _part(name: str, part: Schema, parts: dict[str, Schema]) -> str:
    required = set(part.get("required", ()))
    rows = []
    for field, kind in part["properties"].items():
        presence = "always" if field in required else f"{code(json.dumps(kind.get('default')))} if absent"
        rows.append([code(field), _kind(kind, parts), presence, kind.get("description", "")])
    text = part.get("description", "").replace("\n    ", "\n")
    return f"## {name}\n\n{text}\n\n{table(['field', 'type', 'presence', 'note'], rows)}"


def _values(field: Schema) -> str:
    """Describe the values that a setting takes."""
    if members := field.get("anyOf"):
        return " or ".join(filter(None, map(_values, members)))
    if choices := field.get("enum", [field["const"]] if "const" in field else None):
        return ", ".join(map(code, choices))
    kind = "path" if field.get("format") == "path" else _KINDS[field["type"]]
    return " ".join([kind, *_bounds(field)])


def _bounds(field: Schema) -> list[str]:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return [f"from {_number(low)} to {_number(high)}"]
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return [f"{sign} {_number(field[key])}" for key, sign in signs.items() if key in field]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _kind(field: Schema, parts: dict[str, Schema]) -> str:
    """Name the type of a field of the card, with a link to a part."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in parts else "text"
    if members := field.get("anyOf"):
        return " or ".join(_kind(one, parts) or "null" for one in members)
    if choices := field.get("enum", [field["const"]] if "const" in field else None):
        return " or ".join(code(json.dumps(one)) for one in choices)
    if field["type"] == "array":
        return f"list of {_kind(field['items'] if 'items' in field else field['prefixItems'][0], parts)}"
    if field["type"] == "object":
        return f"object of {_kind(field['additionalProperties'], parts)}"
    return _KINDS[field["type"]]
