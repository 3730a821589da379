"""The session with Ray: started here or joined, kept from talking, and left again."""

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import ray

from bulk.errors import EngineError

HERE = "local"
"""The address of a Ray that is started on this machine for this run alone."""

_HINT = "run the command on a node of the cluster, or hand it over: ray job submit --address http://HEAD:8265 -- ..."
_CONNECT_SECONDS = 10.0
_Result = TypeVar("_Result")
_TIMED_OUT = "timed out during startup"
_STARTS = 3
"""How often a Ray is started here before that is given up.

Ray's processes wait half a minute for one another at most, which is too little for the first start after an
installation on a busy machine: the modules that they import come from the disk. The next start finds them in memory.
"""

# Ray's own reports go to its log files; these are what it would still print. What the caller has set is kept.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Be a driver of the Ray at `address`, else of the one that RAY_ADDRESS names, else of one started here.

    A process that is a driver already stays one. What Ray prints meanwhile goes to standard error.

    Raises:
        EngineError: it cannot be started or reached.
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
        except Exception as error:  # Ray raises bare ones too.
            where = "Ray cannot be started here" if address == HERE else f"no Ray at {address}"
            raise EngineError(f"{where}: {error}{'' if address == HERE else f'; {_HINT}'}") from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def start_patiently(start: Callable[[], _Result]) -> _Result:
    """Start Ray's processes, again where they did not find one another in time; return what `start` returns.

    Raises:
        Exception: what `start` raised the last time.
    """
    for _ in range(_STARTS - 1):
        try:
            return start()
        except Exception as error:
            if _TIMED_OUT not in str(error):
                raise
    return start()


def _check(address: str) -> None:
    """Find out in seconds what Ray would try for minutes."""
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
    """Ray's native code reads its settings from the environment, and writes to the descriptor that it has read them."""
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
