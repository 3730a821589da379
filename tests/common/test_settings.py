from collections.abc import Mapping

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.environment import read_variable
from common.settings import doubtful_variables, flag, load_settings


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid")

    src: str = "here"
    names: str = ""
    batch_size: int = Field(32, ge=1)
    threads: int = Field(1, ge=1)
    max_bytes: int = 1
    wait_seconds: float = 1.0
    is_open: bool = False

    @model_validator(mode="after")
    def _agree(self) -> "Example":
        if self.threads > self.batch_size:
            raise ValueError("--threads is above --batch-size")
        return self


def load(flags: Mapping[str, object], environment: Mapping[str, str]) -> Example:
    variables = {"batch_size": "BATCH_SIZE"}
    return load_settings(Example, flags, environment, variables=variables, error=LookupError, positional=("src",))


def test_a_flag_overrides_a_variable_and_a_variable_overrides_the_default() -> None:
    assert load({}, {}).batch_size == 32
    assert load({"batch_size": None}, {"BATCH_SIZE": "8"}).batch_size == 8
    assert load({"batch_size": "4"}, {"BATCH_SIZE": "8"}).batch_size == 4


def test_an_empty_flag_empties_what_is_empty_by_default() -> None:
    found = load_settings(Example, {"names": ""}, {"NAMES": "a, b"}, variables={"names": "NAMES"}, error=LookupError)
    assert found.names == ""


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({}, {"BATCH_SIZE": ""}).batch_size == 32
    assert load({}, {"BATCH_SIZE": "\n"}).batch_size == 32


def test_blanks_around_a_variable_are_not_part_of_it() -> None:
    """Secrets often end in a line break, and lines of a file from Windows in CR."""
    found = load_settings(Example, {}, {"SRC": " faces of June\r\n"}, variables={"src": "SRC"}, error=LookupError)
    assert found.src == "faces of June"


def test_a_variable_in_lower_case_is_warned_of() -> None:
    environment = {"lensgate_port": "1", "LENSGATE_PORT": "1", "lens_port": "1"}
    (warning,) = doubtful_variables(environment, ["LENSGATE_HOST", "LENSGATE_PORT"])
    assert warning == "lensgate_port is not a setting and has no effect: did you mean LENSGATE_PORT?"


def test_a_comment_behind_a_value_is_warned_of() -> None:
    """As in a file of `docker run --env-file`."""
    environment = {"LENSGATE_SOURCES": "run-1,run-2 # of June", "LENSGATE_MODELS": "/models#5", "OTHER": "a # b"}
    (warning,) = doubtful_variables(environment, ["LENSGATE_SOURCES", "LENSGATE_MODELS"])
    assert warning.startswith("LENSGATE_SOURCES: the # and what follows are part of the value")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('"8"', "8"),
        ("'8'\r", "8"),
        ('" 8 "', "8"),
        ('""', ""),
        ('"', '"'),
        ("'a' and 'b", "'a' and 'b"),
        ("it's", "it's"),
    ],
)
def test_quotes_around_a_variable_are_not_part_of_it(value: str, read: str) -> None:
    """`docker run --env-file` keeps those that compose and systemd remove from the same file."""
    assert read_variable({"LENSGATE_PORT": value}, "LENSGATE_PORT") == read


@pytest.mark.parametrize(
    ("given", "path"), [("~/faces", "/home/ann/faces"), ("~", "/home/ann"), ("~faces", "~faces"), ("./~/a", "./~/a")]
)
def test_a_home_folder_that_no_shell_has_expanded_is_found(
    monkeypatch: pytest.MonkeyPatch, given: str, path: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for flags, environment in (({}, {"SRC": given}), ({"src": given}, {})):
        found = load_settings(Example, flags, environment, variables={"src": "SRC"}, error=LookupError)
        assert found.src == path


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        ({"batch_size": "0"}, {}, "--batch-size: must be at least 1, not '0'"),
        ({"batch_size": "0"}, {"BATCH_SIZE": "8"}, "--batch-size: must be at least 1, not '0'"),
        ({}, {"BATCH_SIZE": "0"}, "BATCH_SIZE: must be at least 1, not '0'"),
        ({}, {"BATCH_SIZE": "8,000"}, "BATCH_SIZE: must be an integer, not '8,000'"),
        ({"max_bytes": "16MiB"}, {}, "--max-bytes: must be a whole number of bytes, not '16MiB'"),
        ({"wait_seconds": "1s"}, {}, "--wait-seconds: must be a number of seconds, not '1s'"),
        ({"is_open": "ja"}, {}, "--is-open: must be true or false, not 'ja'"),
        ({"src": ""}, {}, "SRC: the value is empty"),
        ({"max_bytes": ""}, {}, "--max-bytes: the value is empty"),
        ({"threads": "64"}, {}, "--threads is above --batch-size"),
        ({"other": "1"}, {}, "other: is not known"),
    ],
)
def test_an_error_names_the_key_as_it_was_given(
    flags: Mapping[str, object], environment: Mapping[str, str], text: str
) -> None:
    with pytest.raises(LookupError) as caught:
        load(flags, environment)
    assert caught.value.args == (text,)


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(LookupError, match=r"^--batch-size: .*; --threads: "):
        load({"batch_size": "x", "threads": "y"}, {})


def test_a_positional_argument_has_no_dashes() -> None:
    assert (flag("src", ("src",)), flag("max_batch_size")) == ("SRC", "--max-batch-size")
