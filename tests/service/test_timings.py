"""Durations as error texts show them."""

import pytest

from service.timings import show_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5e-6, "0.005 ms"),
        (0.0, "0 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1 s"),
        (12.345, "12.3 s"),
        (999.9, "1,000 s"),
        (86_400.0, "86,400 s"),
    ],
)
def test_a_duration_has_three_digits_and_its_unit(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
