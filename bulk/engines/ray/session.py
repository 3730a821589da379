"""The session with Ray: start or join it, silence its output, and shut it down."""

import contextlib
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import ray

from bulk.errors import EngineError

HERE = "local"
"""The address of a Ray instance that is started on this machine for this run."""

_HINT = "run the command on a node of the cluster, or submit it: ray job submit --address http://HEAD:8265 -- ..."
_CONNECT_SECONDS = 10.0
_Result = TypeVar("_Result")
_TIMED_OUT = "timed out during startup"
_STARTS = 3
"""Attempts to start Ray on this machine.

Ray's processes wait at most half a minute for one another. That is too short for the first start after an installation
on a busy machine, which loads modules from disk; the next start finds them in the page cache.
"""

# Ray reports to its log files; these variables silence the rest. Values set by the caller are kept.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Join the Ray at `address`, otherwise the one in RAY_ADDRESS, otherwise one started here.

    A process that is a driver already stays one. Ray's output is redirected to standard error.

    Raises:
        EngineError: Ray cannot be started or reached.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if ray.is_initialized():
            yield
            return
        _join(address or os.environ.get("RAY_ADDRESS") or HERE)
        try:
            yield
        finally:
            ray.shutdown()


def _join(address: str) -> None:
    _check(address)
    options = {"include_dashboard": False} if address == HERE else {}
    with _quiet_start():
        try:
            start_patiently(partial(ray.init, address, logging_level=logging.ERROR, log_to_driver=False, **options))
        except Exception as error:  # Ray also raises bare `Exception`.
            where = "Ray cannot be started here" if address == HERE else f"no Ray at {address}"
            raise EngineError(f"{where}: {error}{'' if address == HERE else f'; {_HINT}'}") from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def start_patiently(start: Callable[[], _Result]) -> _Result:
    """Call `start`, again if Ray's processes timed out during start-up; return its result.

    Ray leaves the processes of a start that timed out running; they are ended, so that they do not slow the next start.

    Raises:
        Exception: the last exception of `start`.
    """
    for _ in range(_STARTS - 1):
        before = _child_processes()
        try:
            return start()
        except Exception as error:
            if _TIMED_OUT not in str(error):
                raise
            for process in _child_processes() - before:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    return start()


def _child_processes() -> set[int]:
    """The ids of this process's children; empty on systems without Linux's /proc."""
    ids: set[int] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # The thread has ended.
            ids.update(map(int, children.read_text().split()))
    return ids


def _check(address: str) -> None:
    """Detect a wrong or unreachable address within seconds; Ray would retry for minutes."""
    if "://" in address:
        raise EngineError(f"{address} is not the address of a cluster's head, HOST:PORT; {_HINT}")
    match = re.fullmatch(r"(.+):(\d+)", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(f"no Ray at {address}: {error}; {_HINT}") from error


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Silence Ray's start: its native code reads settings from the environment and reports them on descriptor 2."""
    before = {name: os.environ.get(name) for name in _QUIET}
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        os.environ.update({name: value for name, value in _QUIET.items() if before[name] is None})
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        for name in (name for name, value in before.items() if value is None):
            os.environ.pop(name, None)
