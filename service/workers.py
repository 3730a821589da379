"""Several worker processes behind one port: how many, and the start of their parent."""

import math
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from gate.control_groups import ControlGroups
from gate.cores import usable_cores
from service.access.exposure import check_exposure
from service.access.shared_buckets import make_memory
from service.errors import SettingsError
from service.http.ports import check_ports, reserve_port
from service.process.parent import ParentOptions, WorkerOptions, python_command
from service.process.signals import ENDING, held_back
from service.settings import MAX_WORKERS, Settings

CORES_PER_WORKER = 8
"""One event loop is full near 8 cores with PNG files; more workers would divide limits and batches further."""

WORKER_BYTES = 256 * 2**20
"""Memory of one worker beside the limits that all workers share, with room for a larger model."""

_RELOAD_GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The cores and the memory in bytes that this process may use."""

    cores: float
    memory: float

    @classmethod
    def find(cls, groups: ControlGroups | None = None) -> Self:
        """Read them; `groups` are by default those of this process, as of a container or a systemd unit."""
        groups = groups or ControlGroups()
        return cls(min(usable_cores(groups), groups.cores()), groups.memory())


def count_workers(settings: Settings, machine: Machine | None = None) -> int:
    """Return the number of processes that the settings ask for, `auto` by the machine.

    Raises:
        SettingsError: shared memory is on with several workers.
    """
    if settings.workers != "auto":
        if settings.shared_memory and settings.workers > 1:
            raise SettingsError("LENSGATE_SHARED_MEMORY needs LENSGATE_WORKERS=1: a region belongs to one process")
        return settings.workers
    if settings.shared_memory:
        # A region of shared memory is registered with one process; a later request may reach another.
        return 1
    machine = machine or Machine.find()
    by_cores = math.ceil(machine.cores / CORES_PER_WORKER)
    by_memory = max(0.0, machine.memory - settings.max_decode_bytes - settings.max_inflight_bytes) / WORKER_BYTES
    return max(1, int(min(by_cores, by_memory, MAX_WORKERS)))


def _reserve_other(host: str, port: int | None) -> tuple[list[socket.socket], int | None]:
    return ([], None) if port is None else reserve_port(host, port)


def become_parent(settings: Settings, flags: Mapping[str, Any], *, count: int) -> NoReturn:
    """Replace this process by the parent of `count` workers, which loads little and keeps the port reserved.

    Raises:
        SettingsError: the service must not listen there, or a port is taken.
    """
    check_exposure(settings)
    check_ports(settings)
    try:
        rates = make_memory()
    except OSError as error:
        raise SettingsError(
            f"LENSGATE_WORKERS: several workers need memory to share (memfd_create): {error.strerror}; set it to 1"
        ) from error
    try:
        # The parent holds the ports without listening, so that no other program takes them while all workers are down.
        held, port = reserve_port(settings.host, settings.port)
        more, metrics_port = _reserve_other(settings.host, settings.metrics_port)
        others, grpc_port = _reserve_other(settings.host, settings.grpc_port)
        held += [*more, *others]
    except OSError as error:
        raise SettingsError(f"LENSGATE_HOST={settings.host}: {error.strerror}") from error
    texts = {name: str(value) for name, value in flags.items() if value is not None}
    options = ParentOptions(
        worker=WorkerOptions(
            flags=texts, count=count, port=port, metrics_port=metrics_port, grpc_port=grpc_port, rates=rates
        ),
        reload_seconds=settings.model_load_seconds + _RELOAD_GRACE,
        log_level=settings.log_level,
    )
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with held_back(ENDING):
        os.execve(  # noqa: S606 - there is no shell.
            sys.executable,
            python_command("service.process.parent", options.encode()),
            {**os.environ, "PYTHONPATH": path},
        )
