"""The benchmark of bulk runs prints its table; tests do not check speed."""

import pytest

from bench import bulk
from tests.conftest import ROOT


def test_the_local_engine_is_held_against_the_cores_and_its_memory_against_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = bulk.contenders()
    # Ray's own tests start it often enough.
    lines.pop("--engine ray", None)
    monkeypatch.setattr(bulk, "contenders", lambda: lines)
    # Over so few images a difference of times may be anything.
    lines["--engine local"].wanted = None
    monkeypatch.setattr(bulk, "FEW", 4)
    monkeypatch.setattr(bulk, "MEMORY_WANTED", 100.0)
    assert bulk.main(["--images", str(ROOT / "samples"), "--count", "24", "--rounds", "1"]) == 0
    head, limit, hashed, local, _, title, few, many = capsys.readouterr().out.splitlines()
    assert head.startswith("24 PNG, ")
    assert [line[:24].strip() for line in (limit, hashed, local)] == list(lines)
    assert all(len([float(value) for value in line[24:].split()[:3]]) == 3 for line in (limit, hashed, local))
    assert local.endswith("limit of the cores")
    assert title.split()[:3] == ["peak", "memory", "MiB"]
    assert few.startswith("24 images")
    assert many.startswith("240 images")
