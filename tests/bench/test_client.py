"""The client's benchmark runs and prints its table."""

import pytest

from bench import client
from tests.conftest import ROOT


def test_benchmark_prints_rates_of_pixels_and_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "BATCH", 6)
    status = client.main(["--images", str(ROOT / "samples"), "--seconds", "0.1", "--rounds", "1"])
    shrinking, head, *rows = capsys.readouterr().out.splitlines()
    assert shrinking.startswith("1024 x 1024 to 128 x 128, ms per image: ")
    assert head.split()[-4:] == ["PNG", "pixels", "ratio", "target"]
    assert [row[:24].strip() for row in rows] == ["batches of 6", "single images"]
    ratios = [float(row.split()[-2]) for row in rows]
    assert all(ratio > 0 for ratio in ratios)
    assert status == int(ratios[0] < client.TARGET_RATIO)
