"""The pool of scoring actors: its size, and the execution of units on it by Ray Data."""

import contextlib
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from bulk.engines.ray.actor import INSTALL, OUTCOME, UNIT, Outcome, ScoringActor, pack, unpack
from bulk.engines.ray.attempts import Window
from bulk.errors import EngineError
from gate.types import Device

LOSSES_PER_ACTOR = 16
"""Lost units per actor in one window above which the cluster is at fault, not a single unit."""

# Units in progress per actor: while one is read or written, the other keeps the cores busy.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """`actors` actors, each with `threads` decoding threads, as many cores, and `gpus` GPUs."""

    actors: int
    threads: int
    gpus: int = 0


def size_pool(nodes: Sequence[Mapping[str, float]], *, on_gpus: bool, actors: int | None, threads: int | None) -> Pool:
    """Return a pool of as many actors as the nodes hold, with one core each or one GPU and its share of the cores.

    Args:
        nodes: the resources of each node, by Ray's names.
        on_gpus: whether each actor needs a GPU.
        actors: overrides the number; actors without room wait until the cluster has grown.
        threads: overrides the threads of each actor.

    Raises:
        EngineError: no actor fits, and no number was given.
    """
    cores = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    shares = [core // gpu for core, gpu in zip(cores, gpus, strict=True) if gpu and core >= gpu]
    if threads is None:
        threads = min(shares, default=1) if on_gpus else 1
    room = [min(core // threads, gpu if on_gpus else core) for core, gpu in zip(cores, gpus, strict=True)]
    if not actors and not sum(room):
        needed = f"{threads} CPU{'s' if threads > 1 else ''}{' and a GPU' if on_gpus else ''}"
        raise EngineError(
            f"no node of the Ray cluster has {needed}: it has {nodes or 'no nodes'}. "
            "Lower --workers, or set --ray-actors to make actors wait until the cluster has grown"
        )
    return Pool(actors or sum(room), threads, int(on_gpus))


def wants_gpus(device: Device, nodes: Sequence[Mapping[str, float]], *, has_cuda: bool) -> bool:
    """Return whether actors run on GPUs: on request, or with `auto` if nodes have GPUs and the runtime has CUDA."""
    return device == "cuda" or (device == "auto" and has_cuda and any(node.get("GPU") for node in nodes))


def has_room(free: Mapping[str, float], pool: Pool) -> bool:
    """Return whether the free resources, by Ray's names, suffice for one actor."""
    return free.get("CPU", 0) >= pool.threads and free.get("GPU", 0) >= pool.gpus


def run_window(window: Window, options: Any, *, pool: Pool) -> Generator[Outcome, None, None]:
    """Yield the outcomes of a window's units as they complete; units whose worker died have none.

    Args:
        window: the units, each run as a task of its own.
        options: Ray's reference to the `ActorOptions`.
        pool: the actors that run them.

    Raises:
        EngineError: workers keep dying, or Ray failed.
    """
    outcomes = _plan(window, options, pool)
    outcomes.context.enable_progress_bars = False
    outcomes.context.max_errored_blocks = LOSSES_PER_ACTOR * pool.actors
    # A unit of a hundred thousand images may take longer than Ray's default; the caller notices a hang.
    outcomes.context.execution_no_progress_timeout_s = -1
    batches = outcomes.iter_batches(batch_size=None, prefetch_batches=0)
    with contextlib.closing(iter(batches)) as running:
        yield from _outcomes(running)


def _plan(window: Window, options: Any, pool: Pool) -> Any:
    count = len(window.units)
    at_once = 1 if window.alone else _AT_ONCE
    strategy = ray.data.ActorPoolStrategy(
        size=min(pool.actors, count),
        max_tasks_in_flight_per_actor=at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=True,
    )
    rows = ray.data.from_items([{UNIT: pack(unit)} for unit in window.units], override_num_blocks=count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # The last two arguments, removed in Ray 2.64.
        # Ray restarts a dead actor, on another node if its node is gone. `Attempts` retries the units: Ray would send
        # them to the same actor, which loses them, or wait forever if no other node has room.
        return rows.map_batches(
            ScoringActor,
            fn_constructor_args=(options, window.units[0]),
            batch_size=1,
            compute=strategy,
            num_cpus=pool.threads,
            num_gpus=pool.gpus,
            max_restarts=-1,
            max_task_retries=0,
        )


def _outcomes(batches: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
    try:
        for batch in batches:
            yield from map(unpack, batch[OUTCOME])
    except ray.exceptions.RayError as error:
        raise explain(str(error)) from error


def explain(text: str) -> EngineError:
    """Summarize in one line the traceback that Ray reports for workers that keep dying."""
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        return EngineError(f"a node of the Ray cluster cannot import {missing[1]}: {INSTALL}")
    return EngineError(f"Ray's workers keep dying: {text.strip().splitlines()[-1]}")
