"""The benchmark of gating before encoding runs and prints both tables."""

import pytest

from bench import before_encoding
from tests.conftest import ROOT


def test_the_costs_are_relative_to_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert before_encoding.main(["--images", str(ROOT / "samples"), "--count", "2", "--rounds", "1"]) == 0
    head, *rows, gap, savings, first, second, third = capsys.readouterr().out.splitlines()
    assert head.startswith("1024 x 1024, CPU per image")
    assert [row[:28].strip() for row in rows] == [*before_encoding.ENCODINGS, before_encoding.GATE]
    costs = [float(row.split()[-2]) for row in rows]
    assert costs[0] > costs[1] > costs[3] > 0
    assert float(rows[3].split()[-1]) == 1.0
    assert (gap, savings.split()[-2:]) == ("", ["50%", "rejected"])
    assert all(0 < int(row.split()[-1].rstrip("%")) <= 50 for row in (first, second, third))
