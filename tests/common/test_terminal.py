import pytest

from common.terminal import escape_formula, percent_up


@pytest.mark.parametrize(
    ("bound", "decimals", "shown"),
    [(0.0014132, 1, 0.2), (0.0014132, 2, 0.15), (0.01004, 2, 1.01), (0.07, 2, 7.0), (0.0125, 2, 1.25), (1.0, 2, 100.0)],
)
def test_bound_in_per_cent_is_rounded_up(bound: float, decimals: int, shown: float) -> None:
    assert percent_up(bound, decimals=decimals) == shown


@pytest.mark.parametrize("first", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_cell_that_a_spreadsheet_would_evaluate_is_escaped(first: str) -> None:
    assert escape_formula(f"{first}1+1") == f"'{first}1+1"
    assert escape_formula(f"1{first}") == f"1{first}"
