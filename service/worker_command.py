"""`python -m service.worker_command JSON`: one of several processes that serve a port together."""

import socket
import sys

from common.terminal import say
from common.thread_limit import explained_thread_limit
from gate.errors import GateError
from service.access.shared_buckets import SharedBuckets
from service.process.parent import WorkerOptions
from service.process.parent_link import ParentLink
from service.process.signals import guard_start
from service.server import make_server, serve
from service.settings import Settings
from service.worker_context import WorkerContext


def main(options: WorkerOptions) -> int:
    """Serve until the parent ends this process; return 1 if it cannot start."""
    try:
        with explained_thread_limit():
            guard_start()
            _serve(options)
    except (GateError, OSError, EOFError) as error:
        say(f"lensgate: {error}", error=True)
        return 1
    return 0


def _serve(options: WorkerOptions) -> None:
    with socket.socket(fileno=options.link) as connected:
        ports = {name: getattr(options, name) for name in ("port", "metrics_port", "grpc_port")}
        settings = Settings.load({**options.flags, **ports})
        worker = WorkerContext(options.number, options.count, ParentLink(connected), SharedBuckets(options.rates))
        serve(make_server(settings, worker))


if __name__ == "__main__":
    sys.exit(main(WorkerOptions.decode(sys.argv[1])))
