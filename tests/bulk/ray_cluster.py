"""A Ray cluster of two nodes on this machine, and workers that stop where a test wants them to.

    python -m tests.bulk.ray_cluster SRC DST FOLDER ADDRESS

is a run on that cluster, with a driver that can be killed.
"""

import errno
import io
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from bulk.engines.engine import Engine
from bulk.engines.local import LocalEngine
from bulk.engines.ray.engine import RayEngine
from bulk.engines.ray.session import start_patiently
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import Counts
from bulk.progress import Progress
from bulk.run import run
from bulk.sources.source import open_source
from bulk.summary import Summary
from bulk.work.worker import Worker
from common.storage import LOCK
from gate import Band
from gate.types import Device
from tests.bulk.helpers import face, tar_bytes
from tests.support.models import brightness_model

FREE, HELD, DEADLY, FULL = 4, 5, 6, 7
"""Numbers of images in tars that `Stops` lets pass, holds, kills the worker for while another is held, and fails with a
full disk."""

_SECONDS = 600.0
# Ray takes no fewer bytes for the objects of a node.
_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@dataclass(frozen=True, slots=True)
class Held:
    """A part that is half done: whose process works on it, on which node."""

    pid: int
    node: str


@dataclass(frozen=True, slots=True)
class Stops:
    """Makes workers that stop in the middle of a tar, when its images are judged and its shard is not written.

    `folder` tells the test of it, and them when to go on.
    """

    folder: Path

    def __call__(self, job: BulkJob, cache: ScoreCache, *, threads: int) -> Worker:
        """Make the worker."""
        return Worker(job, cache, threads=threads, watch=self._stop)

    def go_on(self) -> None:
        """Release the held units."""
        (self.folder / "go").touch()

    def held(self, count: int) -> list[Held]:
        """Wait until so many tars are."""
        wait_for(lambda: len(list(self.folder.glob("*.held"))) >= count)
        names = [path.stem.split("-") for path in self.folder.glob("*.held")]
        return [Held(int(pid), node) for pid, node, _ in names]

    def _stop(self, counts: Counts) -> None:
        if counts.images == HELD:
            node = ray.get_runtime_context().get_node_id()
            (self.folder / f"{os.getpid()}-{node}-{threading.get_ident()}.held").touch()
            wait_for((self.folder / "go").exists)
        if counts.images == DEADLY:
            self.held(1)
            self.go_on()
            os.kill(os.getpid(), signal.SIGKILL)
        if counts.images == FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_alive(worker: Held) -> bool:
    """Whether its process is there still."""
    return Path(f"/proc/{worker.pid}").exists()


def wait_for(condition: Any) -> None:
    """Wait until the condition holds; only a hang takes ten minutes."""
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A cluster of two nodes of one core each; the second has a simulated GPU. The driver is on the first."""
    cluster = start_patiently(
        lambda: Cluster(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
    )
    try:
        add_node(cluster)
        ray.init(cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Cluster) -> None:
    """The second node."""
    start_patiently(lambda: cluster.add_node(**_NODE, num_gpus=1))


def write_tars(folder: Path, sizes: Sequence[int]) -> Path:
    """One tar a size, with so many images; no two are the same."""
    folder.mkdir()
    numbers = itertools.count(0, 9)
    for index, size in enumerate(sizes):
        members = {f"{number}.png": face(number) for number in itertools.islice(numbers, size)}
        (folder / f"{index:03}.tar").write_bytes(tar_bytes(members))
    return folder


def judge(source: Path, target: Path, engine: Engine, *, device: Device = "auto") -> Summary:
    """A whole run in this process."""
    for handler in list(logging.getLogger("ray.data").handlers):
        # Pytest keeps log records, whose tracebacks reference Ray's actors, which occupy cores.
        if type(handler).__module__.startswith("_pytest"):
            logging.getLogger("ray.data").removeHandler(handler)
    job = BulkJob(brightness_model(), Band(), str(target), keep=str(_keep(target)), device=device)
    return run(open_source(str(source), {}), job, lambda: engine, progress=Progress(io.StringIO()))


def judge_here(source: Path, target: Path) -> Summary:
    """Run the local engine, the reference for every other run."""
    return judge(source, target, LocalEngine(2))


def files(target: Path) -> dict[str, bytes]:
    """All in DST and KEEP but locks, hidden files too: unfinished files of dead workers must be gone."""
    paths = [*target.iterdir(), *_keep(target).iterdir()]
    return {path.name: path.read_bytes() for path in paths if path.name != LOCK}


def _keep(target: Path) -> Path:
    return target.with_name(f"{target.name}-kept")


if __name__ == "__main__":
    _source, _target, _folder, _address = sys.argv[1:]
    judge(Path(_source), Path(_target), RayEngine(address=_address, make_worker=Stops(Path(_folder))))
