"""A model that never finishes loading: the version that is served goes on, later ones are loaded, and the end comes."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from gate import ModelError, ModelStore
from gate.model_files import MAX_GRAPH_BYTES
from gate.scorer import Scorer
from gate.time_limit import TimeLimit
from service.inference import model_loading as loading
from service.inference import model_reload
from service.inference.model_loading import load_model, load_within
from service.inference.model_reload import read_state
from service.inference.model_runner import LoadedModel
from service.runtime import build_runtime
from service.server import watch_model
from service.settings import Settings
from tests.support.images import flat
from tests.support.models import brightness_model, card_text, endless_graph, model_of, write_model
from tests.support.servers import TIMEOUT, read_metric, running_process, wait_until


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def make_huge(path: Path) -> None:
    os.truncate(path, MAX_GRAPH_BYTES + 1)  # Without a block on the disk.


HARMS = [make_fifo, link_to_device, make_folder, link_to_itself, make_huge]


@pytest.mark.parametrize("name", ["2/model.onnx", "2/card.json", "CURRENT", "HISTORY"])
@pytest.mark.parametrize("harm", HARMS)
def test_fifo_device_folder_or_oversized_graph_is_refused_at_once(
    harm: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    write_model(tmp_path, brightness_model("2"))
    (tmp_path / "glasses/HISTORY").write_text("1\n")
    harm(tmp_path / "glasses" / name)
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError):
        store.history() if name == "HISTORY" else store.load()


def test_endless_graph_times_out(tmp_path: Path) -> None:
    model = model_of(endless_graph(), card_text("2"))
    with TimeLimit(0.05) as limit, pytest.raises(ModelError, match=r"within 0\.05 s: its graph may loop"):
        Scorer(model, device="cpu", limit=limit)
    write_model(tmp_path, model)
    settings = Settings(models=tmp_path, model_load_seconds=0.05)
    with pytest.raises(ModelError, match="may loop forever"):
        load_model(ModelStore(tmp_path), settings)


def test_a_limit_ends_with_the_loading() -> None:
    with TimeLimit(0.05) as limit:
        scorer = Scorer(brightness_model(), device="cpu", limit=limit)
    time.sleep(0.1)
    assert not limit.is_over
    scorer.run(flat(0, 32)[None])


def test_hanging_load_at_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "longest_load", lambda settings: settings.model_load_seconds)
    with pytest.raises(ModelError, match="look at its disk"):
        load_within(threading.Event().wait, Settings(model_load_seconds=0.05))


class Swapping:
    """A pipeline that serves version 1, and a watch whose loads of version 2 hang until `go` is set."""

    def __init__(self, root: Path, seconds: float) -> None:
        write_model(root, brightness_model("1"))
        self.store = ModelStore(root)
        self.go = threading.Event()
        settings = Settings(models=root, model_load_seconds=seconds, model_poll_seconds=0.01)
        seen = read_state(self.store)
        self._load_now = partial(load_model, self.store, settings)
        self.runtime = build_runtime(settings, self._load_now())
        self.watch = watch_model(self.runtime, self.store, load=self._load, seen=seen)

    def _load(self) -> LoadedModel:
        if self.store.current() == "2":
            self.go.wait(TIMEOUT)
        return self._load_now()

    @property
    def served(self) -> str:
        return self.runtime.runner.card.version

    @property
    def has_failed(self) -> float | None:
        return self.runtime.metrics.registry.get_sample_value("lensgate_model_load_failed")


def test_another_version_is_loaded_while_one_hangs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swapping.runtime, swapping.watch:
            write_model(tmp_path, brightness_model("2"))
            await asyncio.sleep(0.05)
            write_model(tmp_path, brightness_model("3"))
            while swapping.served != "3":
                await asyncio.sleep(0.01)
            swapping.go.set()
            await asyncio.sleep(0.05)

    swapping = Swapping(tmp_path, 60)
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT))
    assert (swapping.served, swapping.has_failed) == ("3", 0)


def test_hanging_reload_fails_in_time_and_does_not_delay_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with swapping.runtime, swapping.watch:
            write_model(tmp_path, brightness_model("2"))
            while not swapping.has_failed:
                await asyncio.sleep(0.01)
            shutil.rmtree(tmp_path / "glasses/2")
            write_model(tmp_path, brightness_model("2"))
            await asyncio.sleep(0.05)

    monkeypatch.setattr(model_reload, "longest_load", lambda settings: settings.model_load_seconds)
    swapping = Swapping(tmp_path, 0.2)
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT))
    assert swapping.served == "1"


def test_a_process_ends_while_an_endless_graph_is_loaded(tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model("1"))
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path), "LENSGATE_MODEL_LOAD_SECONDS": str(10 * TIMEOUT)}
    with running_process(tmp_path / "log", environment, "--model-poll-seconds", "0.05") as process:
        with httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as client:
            write_model(tmp_path, model_of(endless_graph(), card_text("2")))
            time.sleep(0.5)
            assert client.get("/readyz").status_code == 200
            write_model(tmp_path, brightness_model("3"))
            wait_until(lambda: client.get("/v1/model").json()["version"] == "3")
            assert read_metric(client, "lensgate_model_load_failed") == 0
        process.process.terminate()
        assert process.process.wait(TIMEOUT) == 0


def test_a_start_with_an_endless_graph_fails_in_time_and_says_why(tmp_path: Path) -> None:
    write_model(tmp_path, model_of(endless_graph(), card_text("1")))
    command = [sys.executable, "-m", "lensgate", "serve", "--port", "0", "--models", str(tmp_path)]
    done = subprocess.run(
        [*command, "--model-load-seconds", "0.5"],
        env={**os.environ, "LENSGATE_RECORDS_URL": "off"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    assert done.returncode == 1
    assert "lensgate: the model was not loaded and proven within 0.5 s" in done.stderr
