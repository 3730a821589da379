"""Several worker processes behind one port: how many, and the start of their parent."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from gate.cores import usable_cores
from service.access.exposure import check_exposure
from service.access.shared_buckets import make_memory
from service.errors import SettingsError
from service.http.ports import check_ports, reserve_port
from service.process.parent import ParentOptions, WorkerOptions, python_command
from service.settings import Settings

CORES_PER_WORKER = 8
"""One event loop is full near 11 cores with PNG files and near 7 with JPEG files."""

_RELOAD_GRACE = 20.0


def count_workers(settings: Settings, cores: int | None = None) -> int:
    """Return the number of processes that the settings ask for on so many cores, by default those of this process.

    Raises:
        SettingsError: shared memory is on with several workers.
    """
    if settings.workers == "auto":
        # A region of shared memory is registered with one process; a later request may reach another.
        return 1 if settings.shared_memory else -(-(cores or usable_cores()) // CORES_PER_WORKER)
    if settings.shared_memory and settings.workers > 1:
        raise SettingsError("LENSGATE_SHARED_MEMORY needs LENSGATE_WORKERS=1: a region belongs to one process")
    return settings.workers


def become_parent(settings: Settings, flags: Mapping[str, Any], *, count: int) -> NoReturn:
    """Replace this process by the parent of `count` workers, which loads little and keeps the port reserved.

    Raises:
        SettingsError: the service must not listen there, or a port is taken.
    """
    check_exposure(settings)
    check_ports(settings)
    try:
        # The parent holds the ports without listening, so that no other program takes them while all workers are down.
        held, port = reserve_port(settings.host, settings.port)
        metrics_port = settings.metrics_port
        if metrics_port is not None:
            more, metrics_port = reserve_port(settings.host, metrics_port)
            held += more
    except OSError as error:
        raise SettingsError(f"LENSGATE_HOST={settings.host}: {error.strerror}") from error
    given = {name: str(value) for name, value in flags.items() if value is not None}
    options = ParentOptions(
        WorkerOptions(given, count, port, metrics_port, make_memory()),
        settings.model_load_seconds + _RELOAD_GRACE,
        settings.log_level,
    )
    # Python's own handlers do not survive the next line; the parent sets its own.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    os.execve(  # noqa: S606 - there is no shell.
        sys.executable,
        python_command("service.process.parent", options.encode()),
        {**os.environ, "PYTHONPATH": path},
    )
