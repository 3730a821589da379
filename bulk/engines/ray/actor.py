"""The scoring actor: runs the same worker as the local engine, on a node that Ray chooses."""

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
from gate.extras import how_to_install

UNIT, OUTCOME = "unit", "outcome"
"""The columns of an actor's input and output batches; both hold bytes from `pack`."""

# Libraries that determine the bytes of a table, in addition to the job.
_LIBRARIES = ("deflate", "lensgate", "numpy", "pillow", "pyarrow", "simplejpeg")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")

MakeWorker = Callable[..., Worker]
"""`Worker`, or a replacement in tests; it is pickled and sent to the actors."""

INSTALL = f"on every node {how_to_install('bulk', 'cpu', 'ray')}, or gpu for cpu, in the version that starts the run"


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """The arguments of all actors, stored once in Ray's object store.

    Args:
        job: the bulk job.
        cache: scores that are known already.
        threads: number of images that an actor decodes at a time.
        versions: library versions on the driver's machine.
        markers: files written by the driver into the output folders; every node must see them.
    """

    job: BulkJob
    cache: ScoreCache
    threads: int
    versions: Mapping[str, str]
    markers: tuple[str, ...] = ()
    make_worker: MakeWorker = Worker


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """The error that ends the run, and its node."""

    error: Exception
    node: str


Outcome = UnitResult | NodeFailure

T = TypeVar("T")


class ScoringActor:
    """Runs work units, on several threads if Ray allows it.

    Errors are returned, not raised: Ray would replace an actor that fails to start, and raise its own errors instead
    of ours.
    """

    def __init__(self, options: Any, probe: WorkUnit) -> None:
        self._worker: Worker | NodeFailure = _attempt(lambda: open_worker(ray.get(options), probe))

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run a batch of packed units; return packed outcomes. Both are object arrays `[N]`."""
        return {OUTCOME: np.array([pack(self._run(unpack(unit))) for unit in batch[UNIT]], object)}

    def _run(self, unit: WorkUnit) -> Outcome:
        worker = self._worker
        return worker if isinstance(worker, NodeFailure) else _attempt(lambda: worker.run(unit))


def pack(value: WorkUnit | Outcome) -> bytes:
    """Pickle a value for transport: Ray Data uses Arrow, which does not support our types."""
    data: bytes = cloudpickle.dumps(value)
    return data


def unpack(data: bytes) -> Any:
    """Return the value that `pack` pickled."""
    return cloudpickle.loads(data)


def open_worker(options: ActorOptions, probe: WorkUnit) -> Worker:
    """Return the worker of this node after checking that the node can do the job.

    Args:
        options: the arguments of all actors.
        probe: a recently listed unit; the node must see its files.

    Raises:
        EngineError: the node cannot see SRC or DST, or has other library versions than the driver.
        GateError: the model cannot be run here.
    """
    _check_versions(options.versions)
    _check_visibility(options, probe)
    return options.make_worker(options.job, options.cache, threads=options.threads)


def library_versions() -> dict[str, str]:
    """Return the installed versions by name; both distributions of ONNX Runtime share one name."""
    versions = {name: _version(name) for name in _LIBRARIES}
    return {**versions, "onnxruntime": next(filter(None, map(_version, _RUNTIMES)), "")}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _check_versions(wanted: Mapping[str, str]) -> None:
    present = library_versions()
    other = [name for name in wanted if present.get(name) != wanted[name]]
    if other:
        here, there = (", ".join(f"{name} {of[name] or 'missing'}" for name in other) for of in (present, wanted))
        raise EngineError(
            f"node {socket.gethostname()} has {here}, but the run was started with {there}: "
            f"tables would differ; {INSTALL}"
        )


def _check_visibility(options: ActorOptions, probe: WorkUnit) -> None:
    unseen = [path for path in options.markers if not Path(path).is_file()]
    store, _ = locate(probe.source, options.job.storage_options)
    for file in (file for file in probe.files[:1] if file.size is not None):
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
    """Return the error if it can be pickled, otherwise an `EngineError` with its text."""
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return EngineError(f"{type(error).__name__}: {error}")
    return error
