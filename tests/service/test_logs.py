import json
import logging

import pytest

from service.logs import JsonFormatter


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
def test_nothing_that_is_logged_is_too_odd_for_a_line(value: object) -> None:
    assert "id" in line(id=value)
