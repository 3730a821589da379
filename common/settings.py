"""Load settings from flags and environment variables: a flag overrides a variable, a variable overrides the default."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)

_PYDANTIC_PREFIX = "Value error, "


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
        flags: values from the command line by field; None means that the flag was not given.
        environment: the process environment; an empty variable counts as unset.
        variables: the environment variable of each field that has one.
        error: makes the exception from its text.
        positional: fields that are positional arguments of the command.

    Raises:
        Exception: made by `error`, if a value is invalid; the text names each key as it was given.
    """
    given = {field: environment[variable] for field, variable in variables.items() if environment.get(variable)}
    chosen = {field: value for field, value in flags.items() if value is not None}
    try:
        return model(**{**given, **chosen})
    except ValidationError as invalid:
        names = {field: flag(field, positional) for field in model.model_fields}
        names |= {field: variable for field, variable in variables.items() if field not in chosen}
        raise error("; ".join(_describe(dict(fault), names) for fault in invalid.errors())) from invalid


def flag(field: str, positional: Collection[str] = ()) -> str:
    """Return the flag of a field, `--max-batch-size` for `max_batch_size`; `SRC` for the positional field `src`."""
    return field.upper() if field in positional else f"--{field.replace('_', '-')}"


def _describe(fault: Mapping[str, Any], names: Mapping[str, str]) -> str:
    text = str(fault["msg"]).removeprefix(_PYDANTIC_PREFIX)
    if not fault["loc"]:  # A check of several fields names them in its text.
        return text
    field = str(fault["loc"][0])
    return f"{names.get(field, field)}: {text}"
