"""The soak test sends every kind of request, and reports counters that differ from its own."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from bench.serving.posts import read_pictures
from bench.soak import __main__ as soak
from bench.soak.counters import Counters
from bench.soak.load import ClientResults, drive
from bench.soak.requests import EncodedImages, RequestKind, make_kinds
from tests.conftest import ROOT
from tests.support.figures import covered_or_cut
from tests.support.servers import running_service

SAMPLES = ROOT / "samples"
KINDS = make_kinds(EncodedImages(read_pictures(SAMPLES), size=64))
SOUND = ("PNG", "JPEG", "WebP, grey, palette, 16 bits", "tensors", "encoded tensors")


def test_mixed_load_is_counted_alike_on_both_sides() -> None:
    with running_service() as service:
        port = service.client.base_url.port
        assert port is not None
        counters = Counters(port)
        seen = drive(port, KINDS, connections=4, seconds=4, seed=1)
        assert soak.settled(counters, seen) == []
        assert not seen.faults
        assert seen.decisions
        assert seen.image_errors
        seen.decisions["accept", "confident"] += 1
        (difference,) = counters.differences(seen)
        assert difference.startswith("decisions_total accept confident")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_makes_the_same_requests_for_the_same_seed(kind: RequestKind) -> None:
    first, second = ([kind.make(rng) for _ in range(3)] for rng in (random.Random(7), random.Random(7)))
    assert first == second
    assert {request.method for request in first} <= {"GET", "POST"}


def test_the_served_model_decides_about_every_sound_request(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ClientResults()

    def drive_sound(port: int, kinds: Sequence[RequestKind], **_: object) -> ClientResults:
        sound = [kind for kind in kinds if kind.name in SOUND]
        found.add(drive(port, sound, connections=2, seconds=1, seed=1))
        return found

    monkeypatch.setattr(soak, "drive", drive_sound)
    monkeypatch.setattr(soak.Memory, "slope", lambda _: (0.0, 200.0))
    assert soak.main(["--images", str(SAMPLES)]) == 0
    assert "tensors" in {kind for kind, _ in found.kinds}
    assert {status for _, status in found.kinds} == {200}


def test_growth_is_measured_after_the_warm_up() -> None:
    memory = soak.Memory(
        minutes=[n / 10 for n in range(100)], megabytes=[500.0] * 20 + [100 + n / 10 for n in range(80)]
    )
    growth, level = memory.slope()
    assert growth == pytest.approx(1.0)
    assert 100 < level < 108


def test_a_fault_of_the_service_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = ClientResults(Counter({("PNG", 500): 1}), faults=["PNG: status 500"])
    monkeypatch.setattr(soak, "drive", lambda *_, **__: broken)
    monkeypatch.setattr(soak.Memory, "slope", lambda _: (0.0, 200.0))
    assert soak.main(["--images", str(SAMPLES), "--minutes", "0.01"]) == 1
    assert "WRONG: PNG: status 500" in capsys.readouterr().out


def test_no_text_of_the_chart_covers_another_or_the_curve() -> None:
    memory = soak.Memory(minutes=[0.1 * step for step in range(300)], megabytes=[200.0, *[400.0] * 299])
    figure = soak.chart(memory, -10.25)
    assert not covered_or_cut(figure)
    (line,) = figure.axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == memory.megabytes
