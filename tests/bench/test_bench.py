"""The benchmarks run and print their tables; tests do not check speed."""

import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from bench import cuda, decoding, preparing, records, startup, workers
from bench.libpng import Libpng
from bench.serving.wrk import drive
from gate.errors import DeviceError
from tests.conftest import ROOT


def test_decoders_are_compared_in_one_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(decoding, "ROUNDS", 1)
    monkeypatch.setattr(decoding, "PICTURES", 1)
    assert decoding.main(ROOT / "samples") == 0
    table, _, published = capsys.readouterr().out.partition("\n\n")
    title, head, *lines = table.splitlines()
    assert "1 pictures to 128 x 128 pixels" in title
    assert "gate is faster by" in head
    assert [line.split()[0] for line in lines] == ["png"] * 4 + ["jpeg"] * 3 + ["webp"] * 2
    assert sum(line.endswith("1.00 x") and " gate " in line for line in lines) == 3
    assert re.match(r"PNG, times the speed of libpng on one thread: gate \d+\.\d\d here", published)
    assert all(name in published for name, *_ in decoding.PUBLISHED)


def test_the_baseline_of_published_figures_decodes_as_pillow_does() -> None:
    libpng = Libpng()
    for file in sorted((ROOT / "samples").glob("*.png")):
        with Image.open(file) as image:
            assert np.array_equal(libpng(file.read_bytes()), np.asarray(image.convert("RGB")))
    with pytest.raises(ValueError, match="PNG"):
        libpng(b"no picture")


def test_a_folder_without_pictures_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert decoding.main(ROOT / "locks") == 1
    assert "locks" in capsys.readouterr().err


def test_the_time_to_ready_is_split_into_its_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup, "RUNS", 1)
    assert startup.main() == 0
    *parts, ready = capsys.readouterr().out.splitlines()
    assert len(parts) == len(startup.STAGES)
    assert ready.startswith("exec to ready")


def test_preparing_is_held_against_decoding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preparing, "IMAGES", 40)
    monkeypatch.setattr(preparing, "ROUNDS", 1)
    assert preparing.main(ROOT / "samples") == 0
    title, alone, whole = capsys.readouterr().out.splitlines()
    assert title.startswith("40 PNG images")
    assert "images/s" in alone
    assert whole.endswith("of it")
    assert preparing.main(ROOT / "locks") == 1


def test_the_cost_of_records_is_a_share_of_the_rate_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "PAIRS", records.PAIRS[-2:])
    monkeypatch.setattr(records, "drive", partial(drive, connections=1))
    status = records.main(["--images", str(ROOT / "samples"), "--seconds", "1", "--rounds", "1"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-7:] == ["off", "on", "share", "wanted", "written", "hashed", "pictures"]
    assert [line[:20].strip() for line in lines] == [pair.title for pair in records.PAIRS]
    found = [line[20:].split() for line in lines]
    assert all(float(value) > 0 for row in found for value in row[:3])
    assert status == int(any(float(row[2]) < records.WANTED for row in found[:1]))


def test_a_device_is_held_against_the_processor(capsys: pytest.CaptureFixture[str]) -> None:
    assert cuda.main(["--device", "cpu", "--rounds", "1"]) == 0
    golden, decided, _, probability, novelty, _, *lines = capsys.readouterr().out.splitlines()
    assert golden == "golden samples pass on CPUExecutionProvider and CPUExecutionProvider"
    assert decided.startswith("of 6 images 0 are decided otherwise")
    assert probability.split() == ["probability", "0.0e+00", "0.0e+00", "0.0e+00"]
    assert novelty.split()[:4] == ["novelty", "0.0e+00", "0.0e+00", "0.0e+00"]
    assert [int(line.split()[0]) for line in lines] == list(cuda.BATCHES)


def test_a_device_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=r"'\.\[gpu\]'"):
        cuda.main(["--rounds", "1"])
    assert not capsys.readouterr().out


def test_workers_are_compared_with_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert workers.main(["--seconds", "1", "--rounds", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown] == [
        [kind, column] for kind in ("PNG", "tensor") for column in ("1", "2", "ratio")
    ]
