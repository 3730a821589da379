"""Decisions of the Ray engine without Ray: windows and attempts, pool size, addresses, and unfit nodes."""

import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk.engines.ray.actor import ActorOptions, library_versions, open_worker
from bulk.engines.ray.attempts import LIMIT, Attempts, describe_unit
from bulk.engines.ray.engine import RayEngine
from bulk.engines.ray.pool import Pool, explain, has_room, size_pool, wants_gpus
from bulk.engines.ray.session import start_patiently
from bulk.errors import EngineError
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.work.worker import Worker
from bulk.work_unit import WorkUnit
from common.storage import StoredFile
from gate import Band
from tests.support.models import brightness_model


def units(count: int) -> Iterator[WorkUnit]:
    for number in range(count):
        files = (StoredFile(f"/source/{number}.tar", 1, ""),)
        yield WorkUnit(kind="webdataset", source="/source", root="/source", slot=f"slot-{number}", files=files)


def slots(found: list[WorkUnit]) -> list[int]:
    return [int(unit.slot.removeprefix("slot-")) for unit in found]


def test_units_are_listed_no_further_than_a_window_needs() -> None:
    listing = units(10)
    window = Attempts(listing).take(4)
    assert (slots(window.units), window.alone) == ([0, 1, 2, 3], False)
    assert slots(list(listing)) == [4, 5, 6, 7, 8, 9]


def test_a_lost_unit_is_retried_alone_after_all_new_ones() -> None:
    attempts = Attempts(units(3))
    attempts.take(2)
    assert attempts.finish("slot-1")
    assert slots(attempts.settle()) == [0]
    new = attempts.take(2)
    assert (slots(new.units), new.alone) == ([2], False)
    attempts.finish("slot-2")
    again = attempts.take(2)
    assert (slots(again.units), again.alone) == ([0], True)
    attempts.finish("slot-0")
    assert attempts.settle() == attempts.take(2).units == []
    attempts.check()


def test_a_unit_that_finishes_twice_counts_once() -> None:
    attempts = Attempts(units(1))
    attempts.take(1)
    assert [attempts.finish("slot-0"), attempts.finish("slot-0")] == [True, False]


def test_units_lost_in_all_attempts_are_given_up_and_the_first_are_named() -> None:
    attempts = Attempts(units(5))
    for _ in range(LIMIT):
        attempts.check()
        assert len(attempts.take(9).units) == 5
        attempts.settle()
    assert attempts.take(9).units == []
    with pytest.raises(EngineError, match=r"in all 3 attempts at /source/0\.tar, .*2\.tar and 2 more; all"):
        attempts.check()


def test_a_unit_of_a_folder_is_described_by_its_first_file() -> None:
    files = tuple(StoredFile(f"/faces/{number}.png", 1, "") for number in range(3))
    unit = WorkUnit(kind="images", source="/faces", root="/faces", slot="slot", files=files)
    assert describe_unit(unit) == "/faces/0.png and the 2 files after it"
    assert describe_unit(replace(unit, files=())) == "slot"


@pytest.mark.parametrize(
    ("nodes", "options", "pool"),
    [
        ([{"CPU": 2.0}], {}, Pool(2, 1)),
        ([{"CPU": 0.0}, {"CPU": 8.0}, {"CPU": 3.0}, {"memory": 1.0}], {}, Pool(11, 1)),
        ([{"CPU": 8.0}, {"CPU": 3.0}], {"threads": 2}, Pool(5, 2)),
        ([{"CPU": 2.0}], {"actors": 40}, Pool(40, 1)),
        ([], {"actors": 4, "threads": 3}, Pool(4, 3)),
        ([{"CPU": 16.0}, {"CPU": 16.0, "GPU": 2.0}], {"on_gpus": True}, Pool(2, 8, 1)),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}], {"on_gpus": True}, Pool(3, 4, 1)),
        ([{"CPU": 6.0, "GPU": 4.0}], {"on_gpus": True, "threads": 2}, Pool(3, 2, 1)),
    ],
    ids=str,
)
def test_a_pool_fills_the_nodes(nodes: list[Mapping[str, float]], options: dict[str, Any], pool: Pool) -> None:
    assert size_pool(nodes, **{"on_gpus": False, "actors": None, "threads": None, **options}) == pool


@pytest.mark.parametrize(
    ("nodes", "options", "needed"),
    [
        ([{"CPU": 2.0}], {"threads": 4}, "4 CPUs"),
        ([{"CPU": 2.0}], {"on_gpus": True}, "1 CPU and a GPU"),
        ([], {}, "1 CPU"),
    ],
    ids=str,
)
def test_a_cluster_without_room_is_refused(
    nodes: list[Mapping[str, float]], options: dict[str, Any], needed: str
) -> None:
    with pytest.raises(EngineError, match=f"no node of the Ray cluster has {needed}: it has .* --ray-actors"):
        size_pool(nodes, **{"on_gpus": False, "actors": None, "threads": None, **options})


@pytest.mark.parametrize(
    ("device", "gpus", "has_cuda", "wanted"),
    [("cuda", 0.0, False, True), ("cpu", 1.0, True, False), ("auto", 1.0, True, True), ("auto", 1.0, False, False)],
)
def test_gpus_are_taken_on_demand_and_where_they_can_be_used(
    device: Any, gpus: float, has_cuda: bool, wanted: bool
) -> None:
    assert wants_gpus(device, [{"CPU": 1.0}, {"GPU": gpus}], has_cuda=has_cuda) is wanted


@pytest.mark.parametrize(
    ("free", "pool", "enough"),
    [
        ({"CPU": 2.0}, Pool(9, 2), True),
        ({"CPU": 1.0}, Pool(9, 2), False),
        ({}, Pool(1, 1), False),
        ({"CPU": 8.0}, Pool(1, 1, 1), False),
    ],
    ids=str,
)
def test_there_is_room_if_one_actor_fits(free: Mapping[str, float], pool: Pool, enough: bool) -> None:
    assert has_room(free, pool) is enough


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ray://head:10001", "ray://head:10001 is not the address of a cluster's head"),
        ("head", "no Ray at head: Invalid address format"),
        ("127.0.0.1:{free}", "no Ray at 127.0.0.1:.*refused"),
    ],
)
def test_an_address_without_a_cluster_fails_at_once(tmp_path: Path, address: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    engine = RayEngine(address=address.format(free=free))
    with pytest.raises(EngineError, match=f"{reason}.*ray job submit"):
        list(engine.run(units(1), job(tmp_path), ScoreCache.empty(), watch=lambda _: None))


@pytest.mark.parametrize(("failures", "starts"), [(0, 1), (2, 3), (3, 3)])
def test_a_start_that_timed_out_is_retried(failures: int, starts: int) -> None:
    outcomes = iter(range(starts))

    def start() -> str:
        if next(outcomes) < failures:
            raise Exception("The current node timed out during startup.")  # As Ray raises it.
        return "started"

    if failures < starts:
        assert start_patiently(start) == "started"
    else:
        with pytest.raises(Exception, match="timed out during startup"):
            start_patiently(start)
    assert list(outcomes) == []


def test_the_processes_of_a_start_that_timed_out_are_ended() -> None:
    with subprocess.Popen(["sleep", "600"]) as earlier:
        left: list[subprocess.Popen[bytes]] = []

        def start() -> int:
            if left:
                return left[0].wait(60)
            left.append(subprocess.Popen(["sleep", "600"]))
            raise Exception("The current node timed out during startup.")

        assert start_patiently(start) == -signal.SIGKILL
        assert earlier.poll() is None
        earlier.kill()


def test_any_other_error_at_start_is_not_retried() -> None:
    def start() -> None:
        starts.append(1)
        raise RuntimeError("no such resource")

    starts: list[int] = []
    with pytest.raises(RuntimeError, match="no such resource"):
        start_patiently(start)
    assert starts == [1]


def test_ray_address_is_used_if_no_other_address_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://of-the-environment:1")
    with pytest.raises(EngineError, match="of-the-environment"):
        list(RayEngine().run(units(1), job(tmp_path), ScoreCache.empty(), watch=lambda _: None))
    with pytest.raises(EngineError, match="of-the-flag"):
        list(RayEngine(address="ray://of-the-flag:1").run(units(1), job(tmp_path), ScoreCache.empty(), watch=print))


def test_without_units_ray_is_not_started(tmp_path: Path) -> None:
    engine = RayEngine(address="ray://nowhere:1")
    assert list(engine.run(iter(()), job(tmp_path), ScoreCache.empty(), watch=lambda _: None)) == []


def test_a_suitable_node_gets_the_worker_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "marker").touch()
    (tmp_path / "0.tar").write_bytes(b"-")
    with open_worker(options(tmp_path, markers=(str(tmp_path / "marker"),)), part_of(tmp_path)) as worker:
        assert isinstance(worker, Worker)


def test_a_node_with_other_libraries_is_refused(tmp_path: Path) -> None:
    versions = library_versions()
    assert versions["onnxruntime"]
    with pytest.raises(EngineError, match=rf"onnxruntime {versions['onnxruntime']}, but .* with onnxruntime 0\.1: ta"):
        open_worker(options(tmp_path, versions={**versions, "onnxruntime": "0.1"}), part_of(tmp_path))
    with pytest.raises(EngineError, match=r"has numpy \S+, but the run was started with numpy missing: tables would"):
        open_worker(options(tmp_path, versions={**versions, "numpy": ""}), part_of(tmp_path))


@pytest.mark.parametrize("unseen", ["0.tar", "marker"])
def test_a_node_that_does_not_see_src_or_dst_is_refused(tmp_path: Path, unseen: str) -> None:
    for name in {"0.tar", "marker"} - {unseen}:
        (tmp_path / name).touch()
    with pytest.raises(EngineError, match=rf"cannot see {tmp_path / unseen}: SRC, DST and KEEP must lie where all nod"):
        open_worker(options(tmp_path, markers=(str(tmp_path / "marker"),)), part_of(tmp_path))


def test_a_file_missing_from_the_listing_does_not_condemn_the_node(tmp_path: Path) -> None:
    with open_worker(options(tmp_path), part_of(tmp_path, size=None)) as worker:
        assert isinstance(worker, Worker)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "System error: No module named 'bulk.engines.ray.actor'\n\nModuleNotFoundError",
            "cannot import bulk.engines.ray.actor: on every node run pip install '.[bulk,cpu,ray]'",
        ),
        ("The actor died.\n  File x\nOutOfMemoryError: too much\n", "keep dying: OutOfMemoryError: too much"),
    ],
    ids=["not installed", "other"],
)
def test_errors_of_ray_workers_are_reduced_to_one_line(text: str, told: str) -> None:
    assert told in str(explain(text))


def job(folder: Path) -> BulkJob:
    return BulkJob(brightness_model(), Band(), str(folder))


def options(folder: Path, **changes: Any) -> ActorOptions:
    return ActorOptions(
        **{"job": job(folder), "cache": ScoreCache.empty(), "threads": 1, "versions": library_versions(), **changes}
    )


def part_of(folder: Path, *, size: int | None = 1) -> WorkUnit:
    files = (StoredFile(str(folder / "0.tar"), size, ""),)
    return WorkUnit(kind="webdataset", source=str(folder), root=str(folder), slot="slot", files=files)
