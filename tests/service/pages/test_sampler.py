import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gate import Label
from gate.card import CardBand, CardClass, TrueClass
from service.inference.model_runner import LoadedModel
from service.pages.sampler import FRESH_SECONDS, Sampler
from service.pages.snapshot import FailedLoads, Links, Operations
from tests.service.access.keys import write_tokens
from tests.support.images import encode, flat
from tests.support.models import brightness_model
from tests.support.servers import FakeScorer, Running, running_service, wait_until


@dataclass
class Clock:
    """Time that goes on when it is told to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def decided() -> Iterator[Running]:
    """A service that accepted two images, discarded one as uncertain and one as contradicted, and refused one."""
    with running_service() as running:
        for value in (250, 5, 128):
            assert running.post(encode(flat(value))).status_code == 200
        assert running.post(encode(flat(250)), expected="no_glasses").status_code == 200
        assert running.post(b"no image").status_code == 422
        yield running


def loaded(version: str) -> LoadedModel:
    return LoadedModel(brightness_model(version).card, FakeScorer(), "fake")


def sampler_of(running: Running, clock: Clock | None = None) -> Sampler:
    clock = clock or Clock()
    return Sampler(running.runtime, clock=clock, wall=lambda: clock.now + 1e9)


def look(sampler: Sampler, running: Running) -> Operations:
    return sampler.look(running.runtime.metrics_of_all.own())


def test_a_look_shows_what_was_decided_and_why(decided: Running) -> None:
    shown = look(sampler_of(decided), decided)
    assert (shown.decisions, shown.reject_ratio, shown.state) == (4, 0.5, "ready")
    assert (shown.scores.counts[0], shown.scores.counts[10], shown.scores.counts[19]) == (1, 1, 2)
    assert shown.scores.reference == [0.05] * 20
    assert shown.model.version == "1"
    assert (shown.model.band.low, shown.model.band.high, shown.model.band.chosen_by) == (0.4, 0.6, "paper")
    assert shown.load.max_inflight_images == decided.runtime.settings.max_inflight_images
    assert shown.records.state == "off"
    assert shown.shadow is None


def test_what_is_decided_after_a_sample_is_in_the_last_step_at_once() -> None:
    clock = Clock()
    with running_service() as running:
        sampler = sampler_of(running, clock)
        sampler.sample(running.runtime.metrics_of_all.own())
        clock.now += 2
        running.post(encode(flat(128)))
        running.post(b"no image")
        history = look(sampler, running).history
    assert (history.decisions, history.uncertain, history.errors) == ([1], [1], [1])
    assert (history.seconds, history.times) == ([2.0], [1e9 + 102])


def test_latencies_are_of_what_came_between_samples(decided: Running) -> None:
    def timed() -> float:
        return decided.metric("lensgate_request_duration_seconds_count", route="/v1/decisions")

    wait_until(lambda: timed() == 5)  # An answer is timed once it has been sent.
    sampler = sampler_of(decided)
    sampler.sample(decided.runtime.metrics_of_all.own())
    assert [stage.count for stage in look(sampler, decided).latency.stages] == [0, 0, 0, 0]
    decided.post(encode(flat(250)))
    wait_until(lambda: timed() == 6)
    sampler.sample(decided.runtime.metrics_of_all.own())
    stages = {stage.stage: stage for stage in look(sampler, decided).latency.stages}
    assert stages["decode"].count == stages["inference"].count == 1
    assert stages["request"].p50 is not None
    assert stages["request"].p50 > 0


def test_unknown_values_are_null() -> None:
    with running_service() as running:
        shown = json.loads(asyncio.run(sampler_of(running).show()))
    assert shown["drift"] == {"psi": None, "limit": None}
    assert shown["reject_ratio"] is None


def test_callers_within_a_second_share_one_snapshot(decided: Running) -> None:
    clock = Clock()
    sampler = sampler_of(decided, clock)
    first = asyncio.run(sampler.show())
    clock.now += FRESH_SECONDS * 0.9
    assert asyncio.run(sampler.show()) is first
    clock.now += FRESH_SECONDS * 0.2
    assert asyncio.run(sampler.show()) is not first


def test_another_version_is_served_since_it_was_first_seen() -> None:
    clock = Clock()
    with running_service() as running:
        sampler = sampler_of(running, clock)
        running.post(encode(flat(250)))
        before = look(sampler, running).model.since
        clock.now += 60
        running.runtime.pipeline.swap(loaded("2"))
        sampler.sample(running.runtime.metrics_of_all.own())
        clock.now += 600
        shown = look(sampler, running)
    assert (before, shown.model.since) == (1e9 + 100, 1e9 + 160)
    assert shown.model.version == "2"
    assert shown.scores.total == 0
    assert shown.reject_ratio is None


def test_operator_band_is_labelled_operator() -> None:
    with running_service(band_low=0.2, band_high=0.9) as running:
        band = look(sampler_of(running), running).model.band
    assert (band.low, band.high, band.chosen_by, band.target_risk) == (0.2, 0.9, "operator", None)


@pytest.mark.parametrize(("band_low", "shown"), [(None, True), (0.2, False)], ids=["the card's band", "the operator's"])
def test_the_certificates_of_the_labels_belong_to_the_cards_band(band_low: float | None, shown: bool) -> None:
    one = CardClass(
        certified=True,
        target_risk=0.01,
        accepted=400,
        errors=0,
        bound=0.0075,
        true_class=TrueClass(accepted=60, errors=1, bound=0.077),
    )
    card = CardBand(low=0.3, high=0.8, chosen_by="certified", folds=4, classes=dict.fromkeys(Label, one))
    with running_service(band_low=band_low) as running:
        running.runtime.pipeline.swap(LoadedModel(brightness_model("2", band=card).card, FakeScorer(), "fake"))
        band = look(sampler_of(running), running).model.band
    assert (band.folds, band.classes) == ((4, card.classes) if shown else (None, None))


def test_the_shadow_is_shown_with_its_disagreements() -> None:
    with running_service(shadow=loaded("9")) as running:
        running.post(encode(flat(250)))
        wait_until(lambda: running.metric("lensgate_shadow_images_total", result="scored") == 1)
        shown = look(sampler_of(running), running).shadow
    assert shown is not None
    assert (shown.version, shown.scored, shown.decision_disagreements) == ("9", 1, 0)


def test_a_service_that_drains_says_so() -> None:
    with running_service() as running:
        running.runtime.drain()
        assert look(sampler_of(running), running).state == "draining"


def test_it_samples_by_itself_until_its_block_ends(decided: Running) -> None:
    async def run() -> int:
        async with Sampler(decided.runtime, seconds=0.001) as sampler:
            while len(look(sampler, decided).history.times) < 3:
                await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


def test_a_sample_that_fails_is_logged_and_the_next_one_is_taken(
    decided: Running, caplog: pytest.LogCaptureFixture
) -> None:
    times = itertools.count(100.0)

    def faulty() -> float:
        now = next(times)
        if now == 101.0:
            raise ValueError("no time")
        return now

    async def run() -> None:
        async with Sampler(decided.runtime, seconds=0.001, clock=faulty) as sampler:
            while not caplog.records:
                await asyncio.sleep(0)
            while len(look(sampler, decided).history.times) < 2:
                await asyncio.sleep(0)

    asyncio.run(run())
    assert "the metrics could not be sampled" in caplog.text


def test_failed_loads_and_addresses_are_shown(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review"]'})
    with running_service(tokens=tokens, runbooks_url="https://wiki.example/") as running:
        sampler = sampler_of(running)
        shown = look(sampler, running)
        assert shown.loads == FailedLoads(model=False, tokens=False, certificate=False)
        assert shown.links == Links(grafana=None, runbooks="https://wiki.example/")
        tokens.write_text("no tokens")
        running.runtime.metrics.observe_load("failure")
        wait_until(lambda: look(sampler, running).loads.tokens)
        assert look(sampler, running).loads.model
