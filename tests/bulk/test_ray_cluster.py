"""The Ray engine on a real cluster of two nodes, with its workers, a node and its driver killed while they work."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from bulk.engines.ray.actor import OUTCOME, UNIT, ActorOptions, ScoringActor, library_versions, pack, unpack
from bulk.engines.ray.engine import RayEngine
from bulk.errors import EngineError
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.sources.source import open_source
from bulk.summary import Summary
from bulk.work.worker import Worker
from gate import Band
from gate.errors import DeviceError
from tests.bulk.ray_cluster import (
    DEADLY,
    FREE,
    FULL,
    HELD,
    Stops,
    add_node,
    files,
    is_alive,
    judge,
    judge_here,
    two_nodes,
    wait_for,
    write_tars,
)
from tests.support.models import brightness_model, write_model

ROOT = Path(__file__).parents[2]
HANG = 600  # seconds; 30 times the usual duration, so that only a hang exceeds it

pytestmark = [
    # Ray reads settings of its own that it has deprecated, and leaves sockets and processes to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def stops(tmp_path: Path) -> Stops:
    folder = tmp_path / "stops"
    folder.mkdir()
    return Stops(folder)


class Run:
    """A run on another thread, so that the test can kill its workers."""

    def __init__(self, source: Path, target: Path, stops: Stops) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._summary = self._pool.submit(judge, source, target, RayEngine(make_worker=stops))
        self._stops = stops

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.go_on()
        self._pool.shutdown(wait=False)

    def go_on(self) -> Summary:
        self._stops.go_on()
        return self._summary.result(HANG)


def run_to_end(command: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """Return stdout and stderr of a command; fail with both if it fails or hangs."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **options) as process:
        try:
            printed, said = process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            # Ray's own processes keep the pipes open, so all of the session have to end.
            os.killpg(process.pid, signal.SIGKILL)
            printed, said = process.communicate()
            pytest.fail(f"the command still ran after {HANG} s\n{printed}\n{said}")
    assert process.returncode == 0, f"{printed}\n{said}"
    return printed, said


# First in this file: it starts a Ray of its own, and a small machine is too slow for two at once.
def test_command_starts_its_own_ray_quietly(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "source", [FREE, FREE])
    write_model(tmp_path / "models", brightness_model())
    judge_here(source, tmp_path / "local")
    arguments = f"bulk {source} {tmp_path}/ray --keep {tmp_path}/ray-kept --engine ray --json".split()
    command = [sys.executable, "-m", "lensgate", *arguments]
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}
    printed, said = run_to_end(command, environment)
    assert json.loads(printed)["images"] == 2 * FREE
    told = [line for line in said.splitlines() if "(raylet)" not in line]  # Of a disk that fills up, say.
    assert all(re.match(r"[\d,]+ images  ", line) for line in told), said
    assert files(tmp_path / "ray") == files(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_one_actor_and_two_on_two_nodes_write_the_tables_of_the_local_engine(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "source", [FREE] * 6)
    local = judge_here(source, tmp_path / "local")
    one = judge(source, tmp_path / "one", RayEngine(actors=1))
    two = judge(source, tmp_path / "two", RayEngine(actors=2, threads=1))
    assert (local.total.images, local.total.accepted > 0, local.total.discarded > 0) == (6 * FREE, True, True)
    assert local.sources == one.sources == two.sources
    assert files(tmp_path / "local") == files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_and_repeats_no_results(
    tmp_path: Path, stops: Stops, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_tars(tmp_path / "source", [FREE, FREE, HELD, HELD, HELD, HELD, FREE])
    local = judge_here(source, tmp_path / "local")
    with Run(source, tmp_path / "ray", stops) as run:
        victim = stops.held(4)[0]
        assert len(list((tmp_path / "ray").glob("*.parquet"))) == 2
        os.kill(victim.pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(victim))
        summary = run.go_on()
    assert len(_lost(caplog)) == 2
    assert summary.sources == local.sources
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_removed_node_loses_and_repeats_no_results(
    tmp_path: Path, stops: Stops, cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_tars(tmp_path / "source", [FREE, FREE, HELD, HELD, HELD, HELD, FREE])
    local = judge_here(source, tmp_path / "local")
    (node,) = cluster.worker_nodes
    with Run(source, tmp_path / "ray", stops) as run:
        victim, _ = [held for held in stops.held(4) if held.node == node.node_id]
        cluster.remove_node(node, allow_graceful=False)
        wait_for(lambda: not is_alive(victim))
        summary = run.go_on()
    add_node(cluster)
    assert len(_lost(caplog)) >= 2
    assert summary.sources == local.sources
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_run_whose_driver_was_killed_resumes_after_the_finished_shards(
    tmp_path: Path, stops: Stops, cluster: Any
) -> None:
    source = write_tars(tmp_path / "source", [FREE, FREE, HELD, HELD, HELD, HELD, FREE])
    local = judge_here(source, tmp_path / "local")
    command = [sys.executable, "-m", "tests.bulk.ray_cluster", source, tmp_path / "ray", stops.folder, cluster.address]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as driver:
        workers = stops.held(4)
        driver.kill()
    finished = files(tmp_path / "ray")
    wait_for(lambda: not any(is_alive(worker) for worker in workers))
    stops.go_on()
    summary = judge(source, tmp_path / "ray", RayEngine())
    assert len([name for name in finished if name.endswith(".parquet")]) == 2
    assert summary.skipped.images == 2 * FREE
    assert summary.sources == local.sources
    assert files(tmp_path / "ray") == files(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_a_unit_that_kills_its_workers_is_named_after_all_others_are_done(tmp_path: Path, stops: Stops) -> None:
    source = write_tars(tmp_path / "source", [HELD, DEADLY, FREE])
    judge_here(source, tmp_path / "local")
    with pytest.raises(EngineError, match=r"died in all 3 attempts at \S*/source/001\.tar; all"):
        judge(source, tmp_path / "ray", RayEngine(actors=1, make_worker=stops))
    finished, local = files(tmp_path / "ray"), files(tmp_path / "local")
    assert len([name for name in finished if name.endswith(".parquet")]) == 2
    assert finished.items() < local.items()
    judge_here(source, tmp_path / "ray")
    assert files(tmp_path / "ray") == local


@pytest.mark.usefixtures("cluster")
def test_a_fatal_error_on_a_node_ends_the_run_and_leaves_no_actor_behind(tmp_path: Path, stops: Stops) -> None:
    source = write_tars(tmp_path / "source", [FULL, HELD])
    with pytest.raises(OSError, match="No space left on device"):
        judge(source, tmp_path / "ray", RayEngine(make_worker=stops))
    wait_for(lambda: not any(is_alive(worker) for worker in stops.held(0)))
    wait_for(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.usefixtures("cluster")
def test_a_run_on_gpus_uses_their_nodes_and_reports_a_runtime_without_cuda(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "source", [FREE])
    with pytest.raises(DeviceError, match=r"this ONNX Runtime has no CUDA: run pip install '\.\[gpu\]'"):
        judge(source, tmp_path / "ray", RayEngine(), device="cuda")


class Odd(Exception):
    """An exception that can be pickled but not unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def make_oddly(*_: Any, **__: Any) -> Worker:
    raise Odd(1, 2)


def make_missing(*_: Any, **__: Any) -> Worker:
    raise ModuleNotFoundError("No module named 'missing'", name="missing")


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"markers": ("/gone",)}, "node {node} cannot see /gone: SRC, DST and KEEP must lie where all nodes of the"),
        (
            {"make_worker": make_missing},
            "node {node} cannot import missing: on every node run pip install '.[bulk,cpu,ray]'",
        ),
        ({"make_worker": make_oddly}, "Odd: 1 and 2"),
    ],
    ids=["unseen", "not installed", "odd"],
)
def test_an_actor_returns_the_error_and_its_node(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    (unit,) = open_source(str(write_tars(tmp_path / "source", [FREE])), {}).units()
    job = BulkJob(brightness_model(), Band(), str(tmp_path))
    fields = {"job": job, "cache": ScoreCache.empty(), "threads": 1, "versions": library_versions()}
    actor = ScoringActor(ray.put(ActorOptions(**{**fields, **changes})), unit)
    (fault,) = map(unpack, actor({UNIT: np.array([pack(unit)], object)})[OUTCOME])
    assert isinstance(fault.error, EngineError)
    assert str(fault.error).startswith(told.format(node=fault.node))


@pytest.mark.usefixtures("cluster")
def test_workers_that_keep_dying_end_the_run(tmp_path: Path, stops: Stops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulk.engines.ray.pool.LOSSES_PER_ACTOR", 0)
    source = write_tars(tmp_path / "source", [HELD, DEADLY])
    with pytest.raises(EngineError, match=r"Ray's workers keep dying: .*[Aa]ctor"):
        judge(source, tmp_path / "ray", RayEngine(actors=1, make_worker=stops))


def _lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "lost with its worker" in record.getMessage()]
