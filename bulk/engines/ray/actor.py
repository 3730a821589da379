"""The scoring actor: the same worker as everywhere, on whichever node Ray puts it."""

import importlib.metadata
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray import cloudpickle

from bulk.errors import EngineError
from bulk.job import BulkJob
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import UnitResult
from bulk.work.worker import Worker
from bulk.work_unit import WorkUnit
from common.storage import locate

UNIT, OUTCOME = "unit", "outcome"
"""The columns of the batches that an actor is given and gives back, both of bytes: see `pack`."""

# What the bytes of a table depend on, besides the job.
_LIBRARIES = ("deflate", "lensgate", "numpy", "pillow", "pyarrow", "simplejpeg")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")

MakeWorker = Callable[..., Worker]
"""`Worker`, or what a test puts in its place: it is sent to the actors."""

INSTALL = "install lensgate[bulk,cpu,ray] on all nodes, or gpu for cpu, in the version that starts the run"


@dataclass(frozen=True, slots=True)
class Orders:
    """What all actors are told; it lies in Ray's object store once.

    Args:
        job: what is done.
        cache: scores that need not be found out again.
        threads: how many images an actor decodes at a time.
        versions: of the libraries on the driver's machine.
        markers: files of this machine that every node must see: they lie where shards are to be written.
    """

    job: BulkJob
    cache: ScoreCache
    threads: int
    versions: Mapping[str, str]
    markers: tuple[str, ...] = ()
    make_worker: MakeWorker = Worker


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """What ends the run, and the node where it happened."""

    error: Exception
    node: str


Outcome = UnitResult | NodeFailure

T = TypeVar("T")


class ScoringActor:
    """Runs units, from several threads where Ray has several for it.

    Errors are handed back and not raised: Ray would take an actor that cannot start for one to be replaced, and
    raise errors of its own in place of ours.
    """

    def __init__(self, orders: Any, witness: WorkUnit) -> None:
        self._worker: Worker | NodeFailure = _attempt(lambda: open_worker(ray.get(orders), witness))

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A batch of packed parts to one of packed outcomes, both object arrays `[N]`."""
        return {OUTCOME: np.array([pack(self._run(unpack(unit))) for unit in batch[UNIT]], object)}

    def _run(self, unit: WorkUnit) -> Outcome:
        worker = self._worker
        return worker if isinstance(worker, NodeFailure) else _attempt(lambda: worker.run(unit))


def pack(value: WorkUnit | Outcome) -> bytes:
    """For the way: Arrow, in which Ray Data thinks, knows no types of ours."""
    data: bytes = cloudpickle.dumps(value)
    return data


def unpack(data: bytes) -> Any:
    """What was packed."""
    return cloudpickle.loads(data)


def open_worker(orders: Orders, witness: WorkUnit) -> Worker:
    """The worker of this node, once it is clear that the node can do the job.

    Args:
        orders: what all actors are told.
        witness: a part that was listed not long ago: the node must see it.

    Raises:
        EngineError: it cannot see SRC or DST, or would compute with other libraries than the driver.
        GateError: the model cannot be run here.
    """
    _check_versions(orders.versions)
    _check_sight(orders, witness)
    return orders.make_worker(orders.job, orders.cache, threads=orders.threads)


def library_versions() -> dict[str, str]:
    """What is installed here, by name; both distributions of ONNX Runtime go by one."""
    found = {name: _version(name) for name in _LIBRARIES}
    return {**found, "onnxruntime": next(filter(None, map(_version, _RUNTIMES)), "")}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _check_versions(wanted: Mapping[str, str]) -> None:
    found = library_versions()
    other = [name for name in wanted if found.get(name) != wanted[name]]
    if other:
        here, there = (", ".join(f"{name} {of[name] or 'missing'}" for name in other) for of in (found, wanted))
        raise EngineError(
            f"node {socket.gethostname()} has {here}, but the run was started with {there}: "
            f"tables would differ; {INSTALL}"
        )


def _check_sight(orders: Orders, witness: WorkUnit) -> None:
    unseen = [path for path in orders.markers if not Path(path).is_file()]
    store, _ = locate(witness.source, orders.job.storage_options)
    for file in (file for file in witness.files[:1] if file.size is not None):
        if store.look(file.path) is None:
            unseen.insert(0, store.name(file.path))
    if unseen:
        raise EngineError(
            f"node {socket.gethostname()} cannot see {unseen[0]}: SRC, DST and KEEP must lie where all nodes "
            "of the cluster reach them, such as s3://, gs:// or a folder that they share"
        )


def _attempt(act: Callable[[], T]) -> T | NodeFailure:
    try:
        return act()
    except ModuleNotFoundError as error:
        node = socket.gethostname()
        return NodeFailure(EngineError(f"node {node} cannot import {error.name}: {INSTALL}"), node)
    except Exception as error:
        return NodeFailure(_portable(error), socket.gethostname())


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the journey, or its text."""
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return EngineError(f"{type(error).__name__}: {error}")
    return error
