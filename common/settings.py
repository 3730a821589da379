"""Load settings from flags and environment variables: a flag overrides a variable, a variable overrides the default."""

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from common.arguments import StoreOnce
from common.environment import expand_home, read_variable
from common.suggestion import did_you_mean
from gate.validation import explain

PREFIX = "LENSGATE_"
"""Every environment variable that is a setting begins with this."""

Model = TypeVar("Model", bound=BaseModel)

_UNITS = ("bytes", "ms", "seconds", "days")
_MEBIBYTE = 2**20
_COMMENT = re.compile(r"\s#\s")


def load_settings(
    model: type[Model],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    variables: Mapping[str, str],
    error: Callable[[str], Exception],
    positional: Collection[str] = (),
) -> Model:
    """Build the settings `model`.

    Args:
        model: a pydantic model with one field for each setting.
        flags: values from the command line by field; None means that the flag was not given. A leading `~/` of any
            value is expanded here: shells leave that of `--models=~/models`, and files of variables have no shell.
        environment: the process environment; blanks and quotes around a value are not part of it, and an empty
            variable counts as unset.
        variables: the environment variable of each field that has one.
        error: makes the exception from its text.
        positional: fields that are positional arguments of the command.

    Raises:
        Exception: made by `error`, if a value is invalid; the text names each key as it was given. An empty flag is
            invalid unless the default is empty too: it stands for a variable of a script that is not set.
    """
    for field, value in flags.items():
        if value == "" and field in model.model_fields and model.model_fields[field].default != "":
            raise error(f"{flag(field, positional)}: the value is empty")
    read = {field: read_variable(environment, variable) for field, variable in variables.items()}
    texts = {field: value for field, value in read.items() if value}
    chosen = {field: value for field, value in flags.items() if value is not None}
    merged = {**texts, **chosen}
    try:
        return model(**{key: expand_home(value) if isinstance(value, str) else value for key, value in merged.items()})
    except ValidationError as invalid:
        names = {field: flag(field, positional) for field in model.model_fields}
        names |= {field: variable for field, variable in variables.items() if field not in chosen}
        text = "; ".join(_describe_all(invalid.errors(), names))
        raise error(_without_secrets(text)) from invalid


def variables_of(fields: Collection[str]) -> dict[str, str]:
    """Return the environment variable of each field, `LENSGATE_MAX_BATCH_SIZE` for `max_batch_size`."""
    return {field: f"{PREFIX}{field.upper()}" for field in fields}


def doubtful_variables(environment: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    """Yield a warning for each variable with the prefix, in any case, that may not mean what was meant.

    It is not among the `known` ones, or has a comment, which systemd and `docker run --env-file` do not remove.
    """
    for name in sorted(name for name in environment if name.upper().startswith(PREFIX)):
        if name not in known:
            yield f"{name} is not a setting and has no effect{did_you_mean(name.upper(), known)}"
        elif _COMMENT.search(environment[name]):
            yield f"{name}: the # and what follows are part of the value: write comments on lines of their own"


def flag(field: str, positional: Collection[str] = ()) -> str:
    """Return the flag of a field, `--max-batch-size` for `max_batch_size`; `SRC` for the positional field `src`."""
    return field.upper() if field in positional else f"--{field.replace('_', '-')}"


def add_flags(
    parser: argparse.ArgumentParser,
    model: type[BaseModel],
    *,
    groups: Mapping[str, str],
    positional: Collection[str] = (),
    joined: Collection[str] = (),
) -> None:
    """Add an argument for each setting of `model`, with choices, unit and default in its help.

    Args:
        parser: of the command.
        model: a pydantic model; the description of a field is its help.
        groups: heading in the help by the first field below it, in the order of the fields.
        positional: fields that are positional arguments.
        joined: fields whose value has several parts in one; their flag may be given once.
    """
    # The usage of argparse would list every flag a second time.
    parser.usage = " ".join(["%(prog)s", *(name.upper() for name in positional), "[OPTION ...]"])
    schema = model.model_json_schema()
    group: argparse._ArgumentGroup | argparse.ArgumentParser = parser
    for name, field in model.model_fields.items():
        if name in groups:
            group = parser.add_argument_group(groups[name])
        help_text = f"{field.description}{_default(name, field.default)}".replace("%", "%%")
        if name in positional:
            parser.add_argument(name, metavar=name.upper(), help=help_text)
        else:
            value = _value(name, schema["properties"][name], schema.get("$defs", {}))
            action = StoreOnce if name in joined else "store"
            group.add_argument(flag(name), dest=name, metavar=value, help=help_text, action=action)


def _value(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the values that a setting takes: its choices, its range, or its unit."""
    if "anyOf" in schema:
        values = (_value(name, each, definitions) for each in schema["anyOf"] if each.get("type") != "null")
        return "|".join(values)
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema or "const" in schema:
        return "|".join(schema.get("enum") or [schema["const"]])
    named = {"boolean": "true|false", "object": "JSON", "string": "PATH" if schema.get("format") == "path" else "TEXT"}
    return named.get(schema["type"]) or _number(name, schema)


def _number(name: str, schema: Mapping[str, Any]) -> str:
    unit = name.rpartition("_")[2]
    if unit in _UNITS:
        return unit.upper()
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{low:g}..{high:g}" if low is not None and high is not None else "NUMBER"


def _default(name: str, default: object) -> str:
    if isinstance(default, bool):
        return f" ({str(default).lower()})"
    if isinstance(default, int) and name.endswith("_bytes") and default % _MEBIBYTE == 0:
        return f" ({default}, {default // _MEBIBYTE} MiB)"
    # A setting without a default says in its description how it is found.
    is_told = default is not None and isinstance(default, str | int | float | PurePath) and str(default)
    return f" ({default})" if is_told else ""


def _describe_all(faults: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    """Yield one text for each setting at fault; a check of several settings names them in its own text."""
    for field, alternatives in groupby(faults, key=lambda fault: fault["loc"][:1]):
        text = _describe(*alternatives)
        yield f"{names.get(field[0], field[0])}: {_with_unit(text, field[0])}" if field else text


def _describe(*faults: Mapping[str, Any]) -> str:
    if faults[0]["type"] == "string_unicode":
        return "the value is not UTF-8: rename the file or folder, or name a link to it (ln -s)"
    return explain(*faults)


def _without_secrets(text: str) -> str:
    """Remove passwords of URLs, which a variable may have in place of a host or a port."""
    if "://" not in text:
        return text
    from common.storage import without_secrets  # noqa: PLC0415 - It takes a second, and only URLs need it.

    return without_secrets(text)


def _with_unit(text: str, field: str) -> str:
    """Add the unit of a number, for a value such as 16MiB."""
    unit = field.rpartition("_")[2]
    if unit not in _UNITS:
        return text
    return text.replace("be an integer,", f"be a whole number of {unit},").replace(
        "be a number,", f"be a number of {unit},"
    )
