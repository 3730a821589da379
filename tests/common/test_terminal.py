import pytest

from common.terminal import percent_up


@pytest.mark.parametrize(
    ("bound", "decimals", "shown"),
    [(0.0014132, 1, 0.2), (0.0014132, 2, 0.15), (0.01004, 2, 1.01), (0.07, 2, 7.0), (0.0125, 2, 1.25), (1.0, 2, 100.0)],
)
def test_bound_in_per_cent_is_rounded_up(bound: float, decimals: int, shown: float) -> None:
    assert percent_up(bound, decimals=decimals) == shown
