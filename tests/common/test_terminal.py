import errno
import io
import sys
from pathlib import Path

import pytest

from common.terminal import escape_formula, p_value, percent_exact, percent_up, say


@pytest.mark.parametrize(
    ("bound", "decimals", "shown"),
    [(0.0014132, 1, 0.2), (0.0014132, 2, 0.15), (0.01004, 2, 1.01), (0.07, 2, 7.0), (0.0125, 2, 1.25), (1.0, 2, 100.0)],
)
def test_bound_in_per_cent_is_rounded_up(bound: float, decimals: int, shown: float) -> None:
    assert percent_up(bound, decimals=decimals) == shown


def test_no_p_value_is_shown_as_zero_and_no_confidence_as_certainty() -> None:
    assert [p_value(p) for p in (0.0287, 0.001, 0.00099, 1e-300, 1.0)] == [
        "p 0.029",
        "p 0.001",
        "p < 0.001",
        "p < 0.001",
        "p 1.000",
    ]
    shown = [percent_exact(share) for share in (0.07, 0.9999, 0.9999999, 4e-5)]
    assert shown == ["7 %", "99.99 %", "99.99999 %", "0.004 %"]


def test_names_in_texts_do_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31m", "two\nlines\r\x9b", Path("caf\u00e9\udcff"), end=";\n")
    say("wrong\b", error=True)
    assert capsys.readouterr() == ("a\\x1b[31m;\ntwo\nlines\\r\\x9b;\ncaf\u00e9\\udcff;\n", "wrong\\x08\n")


def test_texts_that_cannot_be_written_are_lost_as_messages_and_an_error_as_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Full())
    say("a message", error=True)
    with pytest.raises(OSError, match="No space left on device: 'standard output'"):
        say("a result")


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("first", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_cell_that_a_spreadsheet_would_evaluate_is_escaped(first: str) -> None:
    assert escape_formula(f"{first}1+1") == f"'{first}1+1"
    assert escape_formula(f"1{first}") == f"1{first}"
