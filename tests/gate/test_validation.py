"""Errors about values state the requirement, and quote the value unless it may be long or secret."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, AwareDatetime, Field, InstanceOf, TypeAdapter, ValidationError

from gate.validation import explain
from service.records.query import RecordId


def refuse(_: str) -> str:
    """As a validator of the project refuses a value."""
    raise ValueError("Input should be, in this project's words, y")


class Label(StrEnum):
    """Two choices."""

    GLASSES = "glasses"
    NONE = "none"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (int, "many", "must be an integer, not 'many'"),
        (int, "9" * 39 + "x", f"must be an integer, not '{'9' * 39}x'"),
        (int, "lensgate_" + "x" * 43, "must be an integer"),
        (Label, "postgresql://u:secret@host", "must be 'glasses' or 'none'"),
        (float, "1,5", "must be a number, not '1,5'"),
        (bool, "maybe", "must be true or false, not 'maybe'"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1, not 0"),
        (Annotated[float, Field(lt=1)], 1.5, "must be less than 1, not 1.5"),
        (Label, "hat", "must be 'glasses' or 'none', not 'hat'"),
        (Literal["a", "b"], "c", "must be 'a' or 'b', not 'c'"),
        (Literal["auto"] | Annotated[int, Field(ge=1)], "0", "must be 'auto' or at least 1, not '0'"),
        (datetime, "now", "must be a time, such as 2026-11-30T14:00:00Z, not 'now'"),
        (AwareDatetime, "2026-11-30T14:00:00", "must be a time with its zone, such as 2026-11-30T14:00:00Z"),
        (Annotated[str, Field(pattern="^https?://")], "user:secret@host", "must begin with http:// or https://"),
        (Annotated[str, Field(pattern="^[0-9a-f]{64}$")], "ABC", "must be 64 hexadecimal digits in lower case"),
        (RecordId, "abc", "must be a ULID of 26 characters, such as the `record` of a decision"),
        (Annotated[str, Field(min_length=1)], "", "must have at least 1 character"),
        (dict[str, str], "secret", "must be a JSON object"),
        (InstanceOf[list[Any]], "secret", "must be a list"),
        (list[int], "secret", "must be a list"),
        (int, "9" * 5_000, "has too many digits"),
        (Annotated[int, Field(le=1)], 10**4_000, f"must be at most 1, not 1{'0' * 39}"),
        (int, "\x1b[2J", "must be an integer, not '\\x1b[2J'"),
        (Annotated[str, AfterValidator(refuse)], "x", "Input should be, in this project's words, y"),
    ],
)
def test_the_text_states_the_requirement(kind: Any, value: object, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert explain(*map(dict, caught.value.errors())) == text


def test_a_fault_without_its_value_is_described_without_it() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("token")
    assert explain(dict(caught.value.errors(include_input=False)[0])) == "must be an integer"
