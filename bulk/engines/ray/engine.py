"""The Ray engine: runs work units on a Ray Data pool of scoring actors, on this machine or on a cluster."""

import contextlib
import gc
import itertools
import logging
import uuid
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import ray

from bulk.engines.engine import Watch
from bulk.engines.ray.actor import ActorOptions, MakeWorker, NodeFailure, library_versions
from bulk.engines.ray.attempts import Attempts, describe_unit
from bulk.engines.ray.pool import Pool, has_room, run_window, size_pool, wants_gpus
from bulk.engines.ray.session import joined
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import UnitResult
from bulk.work.worker import Worker
from bulk.work_unit import WorkUnit
from common.storage import TEMPORARY, locate
from gate.onnx_runtime import onnxruntime
from gate.scorer import CUDA

_log = logging.getLogger(__name__)

# Units of one Ray Data execution, which needs them all up front: enough for each actor to amortize its start-up time,
# and few enough to fit in memory.
_WINDOW_PER_ACTOR = 128
_WINDOW = 8192


class RayEngine:
    """Runs units on actors of a Ray cluster; results equal those of the local engine, byte for byte.

    Args:
        address: HOST:PORT of the cluster's head; None takes RAY_ADDRESS, and without it starts Ray here.
        actors: number of actors; None takes as many as fit.
        threads: decoding threads and cores of each actor; None is one, or a GPU's share of its node's cores.
        make_worker: factory of the workers in the actors.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        actors: int | None = None,
        threads: int | None = None,
        make_worker: MakeWorker = Worker,
    ) -> None:
        self._address, self._actors, self._threads = address, actors, threads
        self._make_worker = make_worker

    def run(
        self, units: Iterator[WorkUnit], job: BulkJob, cache: ScoreCache, *, watch: Watch
    ) -> Generator[UnitResult, None, None]:
        """See `Engine.run`.

        Raises:
            EngineError: Ray cannot be reached or used, or a unit was lost in all its attempts.
        """
        first = next(units, None)
        if first is None:
            return
        with joined(self._address), _markers(job) as markers:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            on_gpus = wants_gpus(job.device, nodes, has_cuda=CUDA in onnxruntime.get_available_providers())
            pool = size_pool(nodes, on_gpus=on_gpus, actors=self._actors, threads=self._threads)
            if not has_room(ray.available_resources(), pool):
                _log.warning("the Ray cluster is fully used: waiting for room for an actor")
            options = ActorOptions(
                job=replace(job, device="cuda" if on_gpus else "cpu"),
                cache=cache,
                threads=pool.threads,
                versions=library_versions(),
                markers=markers,
                make_worker=self._make_worker,
            )
            attempts = Attempts(itertools.chain([first], units))
            for result in _run(attempts, ray.put(options), pool):
                watch(result.total)
                yield result
            attempts.check()


def _run(attempts: Attempts, options: Any, pool: Pool) -> Iterator[UnitResult]:
    size = min(_WINDOW_PER_ACTOR * pool.actors, _WINDOW)
    while (window := attempts.take(size)).units:
        with contextlib.closing(run_window(window, options, pool=pool)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, NodeFailure):
                    _log.error("an error on node %s ends the run", outcome.node)
                    raise outcome.error
                if attempts.finish(outcome.slot):
                    yield outcome
        for unit in attempts.settle():
            _log.warning("lost with its worker: %s", describe_unit(unit))
        # Exceptions of Ray Data reference actors, which occupy cores: without collection the next actors wait forever.
        gc.collect()


@contextlib.contextmanager
def _markers(job: BulkJob) -> Iterator[tuple[str, ...]]:
    """Create empty files in DST and KEEP if they are folders: a node that sees the files sees the folders."""
    with contextlib.ExitStack() as stack:
        paths = []
        for url in filter(None, (job.target, job.keep)):
            store, folder = locate(url, job.storage_options)
            if store.is_local:
                path = f"{folder}/{TEMPORARY}{uuid.uuid4().hex}"
                stack.callback(store.remove, path)
                with store.publish(path):
                    pass
                paths.append(path)
        yield tuple(paths)
