"""`python -m service.process.parent JSON`: the process that keeps the workers running."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.terminal import say
from common.thread_limit import explained_thread_limit
from service.process.json_logs import configure_logging
from service.process.signals import guard_start
from service.process.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Everything that a worker is given beside the environment.

    Args:
        flags: of the command line.
        count: number of workers.
        port: the port of the service.
        metrics_port: the port of metrics and probes; None without one.
        grpc_port: the port of gRPC; None without one.
        rates: descriptor of the shared memory of the rate limits.
        number: of the worker, from 1 on.
        link: descriptor of its link to the parent.
    """

    flags: Mapping[str, Any]
    count: int
    port: int
    metrics_port: int | None
    grpc_port: int | None
    rates: int
    number: int = 0
    link: int = 0

    def encode(self) -> str:
        """Return it as an argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> "WorkerOptions":
        """Return what `encode` was called on."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOptions:
    """Everything that the parent is given.

    Args:
        worker: options of the workers; number and link differ for each.
        reload_seconds: longest time for one worker to reload.
        log_level: least severe line logged.
    """

    worker: WorkerOptions
    reload_seconds: float
    log_level: str

    def encode(self) -> str:
        """Return it as an argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> "ParentOptions":
        """Return what `encode` was called on."""
        members = json.loads(text)
        return cls(worker=WorkerOptions(**members.pop("worker")), **members)


def main(options: ParentOptions) -> int:
    """Run the workers until a signal ends them; return the exit status."""
    try:
        with explained_thread_limit():
            guard_start()
            configure_logging(options.log_level)
    except OSError as error:
        say(f"lensgate: {error}", error=True)
        return 1

    def command(number: int, link: int) -> list[str]:
        return python_command("service.worker_command", replace(options.worker, number=number, link=link).encode())

    shared = [options.worker.rates]
    return Supervisor(options.worker.count, command, shared=shared, reload_seconds=options.reload_seconds).run()


def python_command(module: str, argument: str) -> list[str]:
    """Return the command that runs a module of this package, wherever the working directory is."""
    return [sys.executable, "-P", "-m", module, argument]


if __name__ == "__main__":
    sys.exit(main(ParentOptions.decode(sys.argv[1])))
