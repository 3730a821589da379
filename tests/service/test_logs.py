import json
import logging
import os
import sys

import pytest

from service.process.json_logs import JsonFormatter
from tests.support.servers import running_service


def line(**fields: object) -> dict[str, object]:
    record = logging.LogRecord("name", logging.WARNING, "", 0, "%s went", ("it",), None)
    record.fields = fields
    found = json.loads(JsonFormatter().format(record))
    assert isinstance(found, dict)
    return found


def test_a_line_has_time_level_logger_message_and_what_was_added() -> None:
    found = line(status=200)
    assert {key: found[key] for key in ("level", "logger", "message", "status")} == {
        "level": "warning",
        "logger": "name",
        "message": "it went",
        "status": 200,
    }
    assert str(found["time"]).endswith("+00:00")


@pytest.mark.parametrize("value", ["half a pair \ud800", 2**70, object, {1: 2}])
def test_any_logged_value_becomes_one_line(value: object) -> None:
    assert "id" in line(id=value)


def formatted(message: str, **fields: object) -> str:
    record = logging.LogRecord("name", logging.WARNING, "", 0, message, (), None)
    record.fields = fields
    return JsonFormatter().format(record)


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "\x1b[2J", "\x9b2J", "a\x85b", "\u2028", "\u2029", "\u202eb", "\x7f", "\0"]
)
def test_no_text_breaks_a_line_or_reaches_a_terminal(text: str) -> None:
    found = formatted(text, id=text)
    assert found.isprintable()
    assert (json.loads(found)["message"], json.loads(found)["id"]) == (text, text)


@pytest.mark.parametrize("value", ["x" * 10**6, b"x" * 10**6, ["x" * 1000] * 1000, {"a": "x" * 10**6}, 10**4000])
@pytest.mark.parametrize("character", ["x", "\x1b", "\u2028", "日", "😀", '"', "\ud800"])
def test_a_line_is_one_that_container_runtimes_do_not_split(value: object, character: str) -> None:
    found = formatted(character * 10**6, detail=value, further=[character * 1000] * 20)
    assert len(found.encode()) < 16 * 2**10
    assert json.loads(found)["level"] == "warning"


def test_a_terminal_shows_a_start_line_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 2)
    with running_service() as service:
        printed = capsys.readouterr().err
    assert f"Lensgate serves glasses 1 on {service.url}/" in printed
    assert f"curl --data-binary @FILE {service.url}/v1/decisions" in printed
    assert "running on" not in caplog.text


def test_the_end_of_a_long_traceback_is_kept() -> None:
    try:
        raise ValueError("日" * 10**6 + "the end")
    except ValueError:
        record = logging.LogRecord("name", logging.ERROR, "", 0, "fault", (), sys.exc_info())
    assert json.loads(JsonFormatter().format(record))["exception"].endswith("the end")
