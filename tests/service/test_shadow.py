"""A shadow version scores behind the answers: its decisions are counted, and no answer waits for it."""

import gc
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gate import Budget, ImageError, Label, decide
from gate.card import CardBand
from gate.decision import Band
from gate.pixels import Pixels, read_pixels, read_pixels_at
from gate.scorer import Score, Scores
from lensgate.cli import main
from service.inference.model_runner import LoadedModel
from service.inference.preprocess import InputSizes, read_inputs, shrink_inputs
from service.inference.request_context import ImageDecision
from service.inference.shadow import Shadow
from service.metrics.shadow import ShadowMetrics
from service.settings import Settings
from tests.support.images import encode, flat, portrait
from tests.support.models import brightness_model, write_model
from tests.support.servers import FakeScorer, Running, running_service, wait_until

DIM, BRIGHT = flat(51, 64), flat(204, 64)


class Inverted(FakeScorer):
    """The probability is the darkness."""

    def score(self, images: Pixels) -> Scores:
        return Scores(np.float32(1) - super().score(images).probability, None)


class Kept:
    """A shadow by itself, and the counts it made."""

    def __init__(self, scorer: FakeScorer, *, max_images: int = 256, **card: Any) -> None:
        self.registry, self.scorer = CollectorRegistry(), scorer
        loaded = LoadedModel(brightness_model("2", **card).card, scorer, "fake")
        settings = Settings(max_batch_size=4)
        self.shadow = Shadow(loaded, settings, metrics=ShadowMetrics(self.registry), max_images=max_images)
        self.shadow.start()

    def follow(self, images: Pixels | None, count: int = 1, *, expected: Label | None = None) -> None:
        """As if 0.2 had been answered about each image."""
        decision = decide(0.2, Band(), expected=expected)
        answers = [ImageDecision(Score(0.2, None), decision, None)] * count  # type: ignore[arg-type]
        self.shadow.follow(images, answers, [expected] * count)

    def count(self, name: str, /, **labels: str) -> float:
        found = self.registry.get_sample_value(f"lensgate_shadow_{name}", labels)
        assert found is not None
        return found

    @property
    def images(self) -> tuple[float, float, float]:
        """Scored, dropped, failed."""
        scored, dropped, failed = (self.count("images_total", result=name) for name in ("scored", "dropped", "failed"))
        return scored, dropped, failed

    @property
    def disagreements(self) -> tuple[float, float]:
        """About the label, about the decision."""
        return self.count("disagreements_total", kind="label"), self.count("disagreements_total", kind="decision")


def dim(count: int, size: int = 32) -> Pixels:
    return np.stack([flat(51, size)] * count)


@pytest.fixture
def held() -> Iterator[Kept]:
    """A shadow that holds at most 6 images, and whose model does not go on."""
    scorer = FakeScorer()
    scorer.go.clear()
    kept = Kept(scorer, max_images=6)
    yield kept
    scorer.go.set()
    kept.shadow.close()


def test_everything_is_at_0_from_the_start() -> None:
    kept = Kept(FakeScorer())
    assert (kept.images, kept.disagreements, kept.count("score_difference_count")) == ((0, 0, 0), (0, 0), 0)
    card = brightness_model("2").card
    assert kept.count("info", name="glasses", version="2", sha256=card.sha256) == 1
    kept.shadow.close()


@pytest.mark.parametrize(
    ("scorer", "card", "expected", "disagreements", "difference"),
    [
        (FakeScorer(), {}, None, (0, 0), 0.0),
        (FakeScorer(), {"band": CardBand(low=0.1, high=0.6)}, None, (0, 1), 0.0),
        (Inverted(), {}, None, (1, 0), 0.6),
        (Inverted(), {}, Label.NO_GLASSES, (1, 1), 0.6),
        (Inverted(), {"band": CardBand(low=0.4, high=0.9)}, Label.GLASSES, (1, 0), 0.6),
    ],
)
def test_it_decides_by_its_own_card_about_what_was_expected(
    scorer: FakeScorer,
    card: dict[str, Any],
    expected: Label | None,
    disagreements: tuple[int, int],
    difference: float,
) -> None:
    kept = Kept(scorer, **card)
    kept.follow(dim(3), 3, expected=expected)
    wait_until(lambda: kept.images == (3, 0, 0))
    kept.shadow.close()
    assert kept.disagreements == tuple(3 * kind for kind in disagreements)
    assert kept.count("score_difference_count") == 3
    assert kept.count("score_difference_sum") == pytest.approx(3 * difference, abs=1e-6)


def test_images_beyond_the_limit_are_dropped(held: Kept) -> None:
    for _ in range(9):
        held.follow(dim(1))
    assert (held.shadow.held, held.images) == (6, (0, 3, 0))
    scorer = held.scorer
    scorer.go.set()
    wait_until(lambda: held.images == (6, 3, 0))
    assert held.shadow.held == 0
    held.follow(dim(1))
    wait_until(lambda: held.images == (7, 3, 0))


def test_large_tensor_is_scored_up_to_the_limit(held: Kept) -> None:
    tensor = dim(11)
    gone = weakref.ref(tensor)
    held.follow(tensor, 11)
    assert held.images == (0, 7, 0)  # Runs of 4, 4 and 3: the last two are more than the 2 that are left.
    del tensor
    gc.collect()
    assert gone() is None


def test_closing_drops_the_queue(held: Kept) -> None:
    held.follow(dim(4), 4)
    held.follow(dim(1))
    scorer = held.scorer
    assert scorer.entered.wait(60)
    closing = threading.Thread(target=held.shadow.close)
    closing.start()
    wait_until(lambda: held.images == (0, 1, 0))
    scorer.go.set()
    closing.join(60)
    assert (held.images, held.shadow.held) == ((4, 1, 0), 0)
    assert not held.shadow.is_alive


def test_an_image_it_fails_on_is_counted_and_the_next_is_scored() -> None:
    scorer = FakeScorer()
    scorer.fault = lambda images: RuntimeError("no") if images.max() > 200 else None
    kept = Kept(scorer)
    kept.follow(np.stack([flat(255, 32)]))
    wait_until(lambda: kept.images == (0, 0, 1))
    kept.follow(dim(1))
    wait_until(lambda: kept.images == (1, 0, 1))
    kept.shadow.close()


def test_images_that_are_too_small_for_it_are_counted_as_failed() -> None:
    kept = Kept(FakeScorer())
    kept.follow(None, 2)
    assert kept.images == (0, 0, 2)
    kept.shadow.close()


def test_its_thread_has_the_lowest_priority_and_no_other_has() -> None:
    found: list[int] = []

    class Asks(FakeScorer):
        def score(self, images: Pixels) -> Scores:
            found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().score(images)

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    kept = Kept(Asks())
    kept.follow(dim(1))
    wait_until(lambda: kept.images == (1, 0, 0))
    kept.shadow.close()
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def shadowing(scorer: FakeScorer, **card: Any) -> LoadedModel:
    return LoadedModel(brightness_model("2", **card).card, scorer, "fake")


def images(service: Running, result: str) -> float:
    return service.metric("lensgate_shadow_images_total", result=result)


def test_answers_are_the_served_versions_and_do_not_wait_for_it() -> None:
    scorer = Inverted()
    scorer.go.clear()
    with running_service(shadow=shadowing(scorer)) as service:
        found = [service.post(encode(DIM), expected="no_glasses").json() for _ in range(3)]
        assert images(service, "scored") == 0
        scorer.go.set()
        wait_until(lambda: images(service, "scored") == 3)
        assert service.metric("lensgate_shadow_disagreements_total", kind="label") == 3
        assert service.metric("lensgate_shadow_disagreements_total", kind="decision") == 3
        assert service.metric("lensgate_inference_seconds_count") == 3
        assert service.client.get("/v1/model").json()["version"] == "1"
    assert {(each["glasses_probability"], each["model"]["version"]) for each in found} == {(0.2, "1")}


def test_an_image_that_it_decides_differently_is_drawn_for_the_audit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    with running_service(shadow=shadowing(Inverted()), records_url=url, audit_ratio=0.01) as service:
        service.post(encode(DIM), id="dim")

        def found() -> list[str]:
            listed = service.client.get("/v1/decisions?audit=true").json()["decisions"]
            return [one["id"] for one in listed if one["image"]]

        wait_until(lambda: found() == ["dim"])
        (shadow,) = service.client.get("/v1/review/progress?reviewer=Anna").json()["shadows"]
        assert shadow == {"version": "2", "differences": 1, "judged": 0, "served_right": 0, "shadow_right": 0}


def test_dead_shadow_is_counted_and_logged_and_requests_continue(caplog: pytest.LogCaptureFixture) -> None:
    scorer = FakeScorer()
    scorer.fault = lambda _: SystemExit()
    with running_service(shadow=shadowing(scorer)) as service:
        assert service.post(encode(DIM)).status_code == 200
        wait_until(lambda: images(service, "failed") == 1)
        shadow = service.runtime.followers.shadow
        assert shadow
        wait_until(lambda: not shadow.is_alive)
        assert [service.post(encode(DIM)).status_code for _ in range(3)] == [200] * 3
        assert images(service, "failed") == 4
        assert [service.client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    lines = [record for record in caplog.records if record.name == "service.inference.shadow"]
    assert [record.levelno for record in lines] == [logging.ERROR]


@pytest.mark.parametrize("size", [16, 48, 64])
def test_shadow_of_another_size_receives_the_pixels_of_its_own_preprocessing(size: int) -> None:
    seen: list[Pixels] = []

    class Keeps(FakeScorer):
        def score(self, images: Pixels) -> Scores:
            seen.append(images)
            return super().score(images)

    body = encode(portrait(192))
    with running_service(shadow=shadowing(Keeps(), size=size)) as service:
        assert service.post(body).status_code == 200
        wait_until(lambda: images(service, "scored") == 1)
    (found,) = seen
    np.testing.assert_array_equal(found[0], read_pixels(body, size))


def test_an_image_that_is_too_small_for_it_alone_is_answered() -> None:
    with running_service(shadow=shadowing(FakeScorer(), size=128)) as service:
        assert service.post(encode(DIM)).status_code == 200
        assert service.post(encode(flat(51, 16))).json()["code"] == "image_too_small"
        assert (images(service, "failed"), images(service, "scored")) == (1, 0)


def test_promotion_of_the_shadow_version_keeps_the_shadow_running() -> None:
    with running_service(shadow=shadowing(FakeScorer())) as service:
        service.runtime.pipeline.swap(shadowing(FakeScorer()))
        assert service.post(encode(DIM)).json()["model"]["version"] == "2"
        wait_until(lambda: images(service, "scored") == 1)


@pytest.mark.parametrize(("shadow", "decodes"), [(None, 0), (32, 0), (16, 1)])
def test_files_are_read_for_two_sizes_where_there_are_two(
    shadow: int | None, decodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def spy(body: bytes, sizes: tuple[int, ...], *, max_pixels: int, budget: Budget | None) -> list[Pixels]:
        calls.append(sizes)
        return read_pixels_at(body, sizes, max_pixels=max_pixels, budget=budget)

    monkeypatch.setattr("service.inference.preprocess.read_pixels_at", spy)
    views = read_inputs(encode(portrait(64)), sizes=InputSizes(32, shadow), max_pixels=10**6)
    assert len(calls) == decodes
    found = [None if view is None else view.shape for view in (views.served, views.shadow)]
    assert found == [(1, 32, 32, 3), (1, shadow, shadow, 3) if shadow else None]


def test_an_image_at_fault_is_at_fault_at_two_sizes_too() -> None:
    with pytest.raises(ImageError, match="damaged"):
        read_inputs(encode(portrait(64))[:-400], sizes=InputSizes(32, 16), max_pixels=10**6)


@pytest.mark.parametrize(
    ("edge", "shadow", "below", "shape"),
    [
        (32, None, False, None),
        (32, 32, False, (2, 32, 32, 3)),
        (32, 16, True, (2, 16, 16, 3)),
        (32, 64, False, None),
        (64, 64, True, (2, 64, 64, 3)),
        (64, 128, True, None),
    ],
)
def test_tensors_are_shrunk_for_both_where_they_can_be(
    edge: int, shadow: int | None, below: bool, shape: tuple[int, ...] | None
) -> None:
    sizes = InputSizes(32, shadow)
    assert sizes.are_below(edge) == below
    views = shrink_inputs(dim(2, edge), sizes=sizes)
    assert views.served.shape == (2, 32, 32, 3)
    assert (None if views.shadow is None else views.shadow.shape) == shape


@pytest.mark.parametrize(
    ("flags", "named"), [(["--shadow-version", "7"], "no model"), (["--band-low", "0.5"], "over the model's card")]
)
def test_a_shadow_that_cannot_be_served_is_an_error_at_the_start(
    flags: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(tmp_path, brightness_model("1"))
    write_model(tmp_path, brightness_model("2", band=CardBand(low=0.1, high=0.2)), current=False)
    monkeypatch.setenv("LENSGATE_SHADOW_VERSION", "2")
    assert main(["serve", "--models", str(tmp_path), *flags]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("lensgate: "))
    assert line.startswith("lensgate: LENSGATE_SHADOW_VERSION=")
    assert named in line
