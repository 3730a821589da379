"""The benchmark of the transports runs and prints its table."""

import pytest

from bench import transports
from tests.conftest import ROOT


def test_benchmark_prints_the_cost_of_both(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(transports, "BATCH", 2)
    monkeypatch.setattr(transports, "WARM_SECONDS", 0.1)
    assert transports.main(["--images", str(ROOT / "samples"), "--seconds", "0.5", "--rounds", "1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["HTTP", "gRPC", "ratio"]
    assert [row[:34].strip() for row in rows] == ["liveness probe", "PNG of 1.3 MB", "1 tensor", "2 tensors"]
    assert all(float(row.split()[-2]) > 0 for row in rows)
