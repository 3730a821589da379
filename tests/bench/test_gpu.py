"""The GPU checks run as far as possible without a GPU."""

import pytest

from bench.gpu import __main__ as gpu
from bench.gpu import libraries, shrinking


def test_arrays_pass_every_check_and_a_missing_gpu_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shrinking, "BATCH", 2)
    assert gpu.main(["--libraries", "numpy"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert sum(" equal " in f"{line} " for line in lines) == 8
    assert sum(line.endswith(" right") for line in lines) == 3
    assert not any("DIFFERENT" in line or "WRONG" in line for line in lines)


def test_pixels_that_differ_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shrinking, "BATCH", 2)
    monkeypatch.setattr(shrinking, "plain_average", lambda images, size: images[:, :size, :size])
    (library,) = libraries.find_libraries(["numpy"])
    assert not shrinking.compare(library)
    assert "DIFFERENT" in capsys.readouterr().out
