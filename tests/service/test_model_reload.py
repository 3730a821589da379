"""Another version under a running service: it is served, or the previous one still is."""

import asyncio
import base64
import contextlib
import gc
import itertools
import logging
import math
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gate import Model, ModelError, ModelStore
from gate.card import CardBand, GoldenSample
from gate.scorer import CPU
from service.errors import SettingsError
from service.inference.model_loading import load_model
from service.inference.model_reload import read_state
from service.inference.model_runner import LoadedModel
from service.inference.payload import Payload
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.runtime import Runtime, build_runtime
from service.server import make_server, watch_model
from service.settings import Settings
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, FakeScorer, read_metric, wait_until

DIM = flat(51, 64)  # Brightness 0.2.


class Watched:
    """A pipeline that serves version 1 of a real store, and a watch over it that looks when it is told to."""

    def __init__(self, root: Path, **settings: object) -> None:
        write_model(root, brightness_model("1"))
        self.root = root
        self.store = ModelStore(root)
        self.settings = Settings.model_validate({"models": root, "model_poll_seconds": 0.005, **settings})
        self.loads = 0
        self.at_load: Callable[[], object] = bool
        seen = read_state(self.store)
        self.runtime = build_runtime(self.settings, load_model(self.store, self.settings))
        self.watch = watch_model(self.runtime, self.store, load=self.load, seen=seen)

    def load(self) -> LoadedModel:
        self.loads += 1
        self.at_load()
        return load_model(self.store, self.settings)

    def look(self) -> str:
        """Look once; the version that is served then."""
        asyncio.run(self.watch.turn())
        return self.served

    def add(self, model: Model) -> None:
        write_model(self.root, model)

    @property
    def served(self) -> str:
        return self.runtime.runner.card.version

    def metric(self, name: str, **labels: str) -> float | None:
        return self.runtime.metrics.registry.get_sample_value(f"lensgate_{name}", labels)

    @property
    def failures(self) -> tuple[float | None, float | None]:
        """Return the number of failed loads, and whether CURRENT differs from the served version."""
        return self.metric("model_loads_total", result="failure"), self.metric("model_load_failed")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    watched.runtime.start()
    yield watched
    asyncio.run(watched.runtime.close())


@pytest.fixture
def start() -> Iterator[Callable[..., Runtime]]:
    """Starts a runtime, and ends its threads also if the test fails: they would keep the process from ending."""
    with contextlib.ExitStack() as ended:

        def begin(settings: Settings, loaded: LoadedModel) -> Runtime:
            runtime = build_runtime(settings, loaded)
            # The first version by itself: a swap that failed may have left it without an owner.
            ended.callback(runtime.runner.close, timeout=TIMEOUT)
            ended.callback(lambda: asyncio.run(runtime.close()))
            runtime.start()
            return runtime

        yield begin


def golden(probability: float) -> tuple[GoldenSample, ...]:
    return (GoldenSample(name="dim", png=base64.b64encode(encode(flat(51, 32))), glasses_probability=probability),)


def test_unchanged_version_is_not_loaded(watched: Watched) -> None:
    assert [watched.look() for _ in range(3)] == ["1"] * 3
    assert watched.loads == 0


def test_a_version_that_is_promoted_during_the_start_is_served_without_regular_checks(tmp_path: Path) -> None:
    watched = Watched(tmp_path, model_poll_seconds=0)
    watched.add(brightness_model("2"))

    async def scenario() -> None:
        async with watched.runtime, watched.watch:
            while watched.served == "1":
                await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT))
    assert watched.loads == 1


def test_a_version_that_is_promoted_is_served(watched: Watched) -> None:
    watched.add(brightness_model("2", golden=golden(0.2)))
    old = watched.runtime.runner
    assert watched.look() == "2"
    assert watched.loads == 1
    assert watched.metric("model_loads_total", result="success") == 2
    assert watched.failures == (0, 0)
    assert watched.look() == "2"
    assert watched.loads == 1
    wait_until(lambda: not old.batcher.is_alive)


def test_the_same_version_promoted_again_is_not_swapped(watched: Watched) -> None:
    runner = watched.runtime.runner
    watched.store.promote("1")
    watched.look()
    assert watched.loads == 1
    assert watched.runtime.runner is runner


def test_other_files_under_the_same_name_are_served_too(watched: Watched) -> None:
    shutil.rmtree(watched.root / "glasses/1")
    watched.add(brightness_model("1", size=64))
    watched.look()
    assert watched.runtime.runner.size == 64


def break_graph(watched: Watched) -> None:
    (watched.root / "glasses/2/model.onnx").write_bytes(b"half")


def break_card(watched: Watched) -> None:
    (watched.root / "glasses/2/card.json").write_text("{")


@pytest.mark.parametrize(
    ("model", "spoil", "named"),
    [
        (brightness_model("2"), break_graph, "hashes differ"),
        (brightness_model("2"), break_card, "card is not valid"),
        (brightness_model("2", golden=golden(0.3)), None, "golden sample 'dim'"),
        (brightness_model("2", band=CardBand(low=0.1, high=0.2)), None, "LENSGATE_BAND_LOW"),
    ],
)
def test_failing_version_keeps_the_previous_one_and_is_logged_once(
    model: Model,
    spoil: Callable[[Watched], None] | None,
    named: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched(tmp_path, band_low=0.3)
    watched.add(model)
    if spoil:
        spoil(watched)
    assert [watched.look() for _ in range(3)] == ["1"] * 3
    assert watched.loads == 1
    assert watched.failures == (1, 1)
    (line,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert named in line.getMessage()
    assert "version 1 still is" in line.getMessage()
    shutil.rmtree(tmp_path / "glasses/2")
    watched.add(brightness_model("2"))
    assert watched.look() == "2"
    assert watched.failures == (1, 0)
    asyncio.run(watched.runtime.close())


def test_unexpected_exception_keeps_the_previous_version(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> LoadedModel:
        raise RuntimeError("no memory for it")

    monkeypatch.setattr("tests.service.test_model_reload.load_model", fail)
    watched.add(brightness_model("2"))
    assert watched.look() == "1"
    assert "no memory for it" in caplog.text
    assert "Traceback" in caplog.text


def test_a_version_that_failed_is_released_at_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is collected rarely, and each attempt would keep another version in memory."""
    failed = []

    def fail(*_: object) -> LoadedModel:
        scorer = FakeScorer()
        failed.append(weakref.ref(scorer))
        raise ModelError("its golden samples score differently")

    monkeypatch.setattr("tests.service.test_model_reload.load_model", fail)
    gc.disable()
    try:
        watched.add(brightness_model("2"))
        assert watched.look() == "1"
        assert [each() for each in failed] == [None]
    finally:
        gc.enable()


def remove_current(glasses: Path) -> None:
    (glasses / "CURRENT").unlink()


def empty_current(glasses: Path) -> None:
    (glasses / "CURRENT").write_text("")


def garble_current(glasses: Path) -> None:
    (glasses / "CURRENT").write_bytes(b"\xff\x00")


def name_a_missing_version(glasses: Path) -> None:
    (glasses / "CURRENT").write_text("7")


def make_current_a_folder(glasses: Path) -> None:
    (glasses / "CURRENT").unlink()
    (glasses / "CURRENT").mkdir()


def empty_the_folder(glasses: Path) -> None:
    shutil.rmtree(glasses)


@pytest.mark.parametrize(
    "harm",
    [
        remove_current,
        empty_current,
        garble_current,
        name_a_missing_version,
        make_current_a_folder,
        empty_the_folder,
    ],
)
def test_damaged_models_folder_keeps_the_previous_version_until_it_is_repaired(
    harm: Callable[[Path], None], watched: Watched
) -> None:
    glasses = watched.root / "glasses"
    runner = watched.runtime.runner
    harm(glasses)
    assert [watched.look() for _ in range(3)] == ["1"] * 3
    assert watched.failures == (1, 1)
    shutil.rmtree(glasses, ignore_errors=True)
    watched.add(brightness_model("1"))
    watched.look()
    assert watched.failures == (1, 0)
    assert watched.runtime.runner is runner
    watched.add(brightness_model("2"))
    assert watched.look() == "2"


def test_draining_service_does_not_swap_versions(watched: Watched) -> None:
    watched.add(brightness_model("2"))
    watched.runtime.drain()
    assert watched.look() == "1"
    assert watched.loads == 0


def test_a_version_that_was_loaded_while_the_service_began_to_drain_is_not_served(watched: Watched) -> None:
    watched.at_load = watched.runtime.drain
    watched.add(brightness_model("2"))
    assert watched.look() == "1"


def test_watch_stops_at_the_end_of_its_block(watched: Watched) -> None:
    async def scenario() -> None:
        async with watched.watch:
            watched.add(brightness_model("2"))
            while watched.served != "2":
                await asyncio.sleep(0.005)
        watched.add(brightness_model("3"))
        await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT))
    assert watched.served == "2"


def fake(version: str, *, scorer: FakeScorer | None = None, **changes: Any) -> LoadedModel:
    return LoadedModel(brightness_model(version, **changes).card, scorer or FakeScorer(), "fake")


async def judge(runtime: Runtime, *, meanwhile: Callable[[], object]) -> ImageDecision:
    """One request: admitted, then `meanwhile`, then decoded and scored."""
    with runtime.runner as runner, runtime.admission.admit(0, 10.0) as permit:
        meanwhile()
        context = RequestContext(runner=runner, permit=permit, deadline=float("inf"))
        return await runtime.pipeline.decide_file(context, Payload(encode(DIM)), ImageRequest())


@pytest.mark.parametrize("ending", [lambda _: None, Runtime.drain])
def test_what_was_admitted_before_a_swap_is_answered_by_the_version_it_began_with(
    ending: Callable[[Runtime], None], start: Callable[..., Runtime]
) -> None:
    runtime = start(Settings(), fake("1", size=64))
    old = runtime.runner

    def swap_twice() -> None:
        ending(runtime)
        runtime.pipeline.swap(fake("2", size=32))
        between = runtime.runner
        runtime.pipeline.swap(fake("3", size=16))
        wait_until(lambda: not between.batcher.is_alive)
        assert old.batcher.is_alive

    answer = asyncio.run(judge(runtime, meanwhile=swap_twice))
    assert (answer.runner.card.version, answer.runner.size, answer.score.probability) == ("1", 64, 0.2)
    wait_until(lambda: not old.batcher.is_alive)
    assert (runtime.runner.card.version, runtime.runner.batcher.is_alive) == ("3", True)
    asyncio.run(runtime.close())
    wait_until(lambda: not runtime.runner.batcher.is_alive)


def test_cancelled_request_does_not_keep_the_old_version_alive(start: Callable[..., Runtime]) -> None:
    async def scenario(runtime: Runtime) -> None:
        scorer.go.clear()
        request = asyncio.create_task(judge(runtime, meanwhile=lambda: None))
        await asyncio.to_thread(scorer.entered.wait, TIMEOUT)
        runtime.pipeline.swap(fake("2"))
        request.cancel()
        await asyncio.wait([request])

    scorer = FakeScorer()
    runtime = start(Settings(), fake("1", scorer=scorer))
    old = runtime.runner
    asyncio.run(scenario(runtime))
    scorer.go.set()
    wait_until(lambda: not old.batcher.is_alive)


def test_version_with_an_invalid_band_keeps_the_previous_one(start: Callable[..., Runtime]) -> None:
    runtime = start(Settings(band_low=0.3), fake("1"))
    runner, threads = runtime.runner, threading.active_count()
    with pytest.raises(SettingsError):
        runtime.pipeline.swap(fake("2", band=CardBand(low=0.1, high=0.2)))
    assert (runtime.runner, threading.active_count()) == (runner, threads)


def test_threads_that_cannot_be_started_leave_the_version_in_service(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., Runtime]
) -> None:
    runtime = start(Settings(decode_threads=2), fake("1"))
    runner, before, begun = runtime.runner, threading.active_count(), threading.Thread.start

    def begin(thread: threading.Thread) -> None:
        if threading.active_count() > before:
            raise RuntimeError("can't start new thread")
        begun(thread)

    monkeypatch.setattr(threading.Thread, "start", begin)
    with pytest.raises(RuntimeError, match="can't start"):
        runtime.pipeline.swap(replace(fake("2"), provider=CPU))
    monkeypatch.undo()
    assert runtime.runner is runner
    runtime.check_alive()
    wait_until(lambda: threading.active_count() == before)
    registry = runtime.metrics.registry
    names = {
        sample.labels["version"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "lensgate_model_info"
    }
    assert names == {"1"}


def test_the_metrics_are_those_of_the_new_version_and_the_old_ones_decisions_stay(
    start: Callable[..., Runtime],
) -> None:
    runtime = start(Settings(), fake("1"))

    def metric(name: str, /, **labels: str) -> float | None:
        return runtime.metrics.registry.get_sample_value(f"lensgate_{name}", labels)

    def decisions(version: str) -> float | None:
        labels = {"decision": "accept", "label": "no_glasses", "reason": "confident", "version": version}
        return metric("decisions_total", **labels)

    def info(loaded: LoadedModel) -> float | None:
        card = loaded.card
        return metric("model_info", name="glasses", version=card.version, sha256=card.sha256, provider="fake")

    new = fake("2", band=CardBand(low=0.15, high=0.33))
    asyncio.run(judge(runtime, meanwhile=lambda: None))
    asyncio.run(judge(runtime, meanwhile=lambda: runtime.pipeline.swap(new)))
    assert (decisions("1"), decisions("2")) == (2, 0)
    assert (info(fake("1")), info(new)) == (None, 1)
    assert (metric("band_low"), metric("band_high")) == (0.15, 0.33)
    assert metric("glasses_probability_bucket", le="0.33") == 1  # The one that ended after the swap.
    assert math.isnan(metric("reject_ratio") or 0.0)  # No decision by the new version.
    asyncio.run(judge(runtime, meanwhile=lambda: None))
    assert metric("reject_ratio") == 1
    runtime.pipeline.swap(fake("3", band=CardBand(low=0.15, high=0.33)))
    assert metric("glasses_probability_bucket", le="0.33") == 2  # The same edges: no reset.
    assert math.isnan(metric("reject_ratio") or 0.0)  # No decision by the new version.


def is_served(client: httpx.Client, version: str) -> bool:
    return bool(client.get("/v1/model").json()["version"] == version)


def test_no_request_is_dropped_while_versions_of_two_sizes_take_turns(tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model("1", size=32))
    write_model(tmp_path, brightness_model("2", size=64, inverted=True), current=False)
    before = threading.enumerate()
    settings = Settings(models=tmp_path, port=0, model_poll_seconds=0.02, log_level="error", decode_threads=2)
    server = make_server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    body = encode(DIM)
    done = threading.Event()
    with httpx.Client(base_url=server.url, timeout=TIMEOUT, trust_env=False) as client, ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> list[tuple[int, str, float]]:
            found = []
            for count in itertools.count():
                answer = client.post("/v1/decisions", content=body)
                fields = answer.json()
                version = fields.get("model", {}).get("version")
                found.append((answer.status_code, version, fields.get("glasses_probability")))
                if count >= 25 and done.is_set():
                    return found
            raise AssertionError

        asked = [pool.submit(ask, index) for index in range(8)]
        try:
            for version in "21212":
                ModelStore(tmp_path).promote(version)
                wait_until(partial(is_served, client, version))
        finally:
            done.set()
        answers = [answer for task in asked for answer in task.result(TIMEOUT)]
        # A look during a promotion may load a version twice and swap it once.
        assert read_metric(client, "lensgate_model_loads_total", result="success") >= 6
        assert read_metric(client, "lensgate_model_loads_total", result="failure") == 0
        running = [each.name for each in threading.enumerate() if each not in before and each.name == "inference"]
    assert len(answers) >= 200
    assert set(answers) == {(200, "1", 0.2), (200, "2", 0.8)}
    assert len(running) == 2
    server.handle_exit(signal.SIGTERM, None)
    thread.join(TIMEOUT)
    assert not thread.is_alive()
