"""The pool of scoring actors: how many of which size, and parts through it by Ray Data."""

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
from gate.scorer import Device

LOSSES_PER_ACTOR = 16
"""Parts lost in one window, so many for each actor, from which on the cluster is at fault and no single unit."""

# Parts in an actor: while one is read for the first time or written, the other keeps its cores busy.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """`actors` of `threads` decoding threads each, on as many cores, and with `gpus` GPUs."""

    actors: int
    threads: int
    gpus: int = 0


def size_pool(nodes: Sequence[Mapping[str, float]], *, on_gpus: bool, actors: int | None, threads: int | None) -> Pool:
    """As many actors as the nodes hold, of one core each or of one GPU and its share of the cores.

    Args:
        nodes: the resources of each node, in Ray's words.
        on_gpus: whether each actor needs a GPU.
        actors: how many instead; those that find no room wait for it, so that a cluster can grow.
        threads: of each actor, instead.

    Raises:
        EngineError: there is no room for any, and none were asked for by number.
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
            "Ask for fewer with --workers, or with --ray-actors for actors that wait until the cluster has grown"
        )
    return Pool(actors or sum(room), threads, int(on_gpus))


def wants_gpus(device: Device, nodes: Sequence[Mapping[str, float]], *, has_cuda: bool) -> bool:
    """Whether actors run on GPUs: on demand, or where nothing is said, nodes have some and the runtime has CUDA."""
    return device == "cuda" or (device == "auto" and has_cuda and any(node.get("GPU") for node in nodes))


def has_room(free: Mapping[str, float], pool: Pool) -> bool:
    """Whether what is free now, in Ray's words, is enough for one of the actors."""
    return free.get("CPU", 0) >= pool.threads and free.get("GPU", 0) >= pool.gpus


def run_window(window: Window, orders: Any, *, pool: Pool) -> Generator[Outcome, None, None]:
    """The outcomes of a window's units, as they come; those of parts whose worker died are missing.

    Args:
        window: what is run, each part as a task of its own.
        orders: Ray's reference to the `Orders`.
        pool: who runs them.

    Raises:
        EngineError: workers keep dying, or Ray failed.
    """
    outcomes = _plan(window, orders, pool)
    outcomes.context.enable_progress_bars = False
    outcomes.context.max_errored_blocks = LOSSES_PER_ACTOR * pool.actors
    # A part of a hundred thousand images may take longer than Ray would wait; what hangs, its caller sees.
    outcomes.context.execution_no_progress_timeout_s = -1
    batches = outcomes.iter_batches(batch_size=None, prefetch_batches=0)
    with contextlib.closing(iter(batches)) as running:
        yield from _outcomes(running)


def _plan(window: Window, orders: Any, pool: Pool) -> Any:
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
        warnings.simplefilter("ignore", RayDeprecationWarning)  # Of the last two, until Ray 2.64 takes them away.
        # An actor that died is started again, elsewhere if its node is gone. Its parts are not Ray's to try again: they
        # would go to the same actor, and be lost for good, or wait for ever, where no other node has room for it.
        return rows.map_batches(
            ScoringActor,
            fn_constructor_args=(orders, window.units[0]),
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
    """What Ray says of workers that keep dying, which is a traceback of theirs, in a line."""
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        return EngineError(f"a node of the Ray cluster cannot import {missing[1]}: {INSTALL}")
    return EngineError(f"Ray's workers keep dying: {text.strip().splitlines()[-1]}")
